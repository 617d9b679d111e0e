"""One contract for the net: whole sequences, single events and torch's own GRU agree."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.net_shape import weight_shapes
from model.nets import GruNet, TokenBatch
from model.spec import ModelSpec


def spec_of(width: int, features: int = 2, edges: tuple[int, ...] = (1_000, 60_000)) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        actions=("_close", "other", "view", "cart", "purchase"),
        item_count=7,
        cold_buckets=3,
        hidden_width=width,
        features=tuple(f"feature_{n}" for n in range(features)),
        gap_edges_ms=edges,
        top_k=3,
    )


def random_tokens(
    spec: ModelSpec, shape: tuple[int, ...], generator: torch.Generator
) -> TokenBatch:
    def codes(count: int) -> Tensor:
        return torch.randint(count, shape, generator=generator)

    dense = torch.randn(*shape, len(spec.features), generator=generator)
    return TokenBatch(
        codes(spec.input_count), codes(len(spec.actions)), codes(spec.gap_count), dense
    )


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    width=st.sampled_from([1, 4, 32]),
    rows=st.integers(1, 5),
    length=st.integers(1, 9),
    features=st.integers(0, 3),
)
def test_forward_is_repeated_step(
    seed: int, width: int, rows: int, length: int, features: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    spec = spec_of(width, features)
    net = GruNet(spec, generator)
    net.dense_weight.data.normal_(generator=generator)
    tokens = random_tokens(spec, (rows, length), generator)
    with torch.no_grad():
        whole = net(tokens, net.initial(rows))
        memory = net.initial(rows)
        for t in range(length):
            memory = net.step(TokenBatch(*(column[:, t] for column in tokens)), memory)
            torch.testing.assert_close(memory, whole[:, t], atol=1e-5, rtol=0)


def test_a_sequence_may_be_cut_anywhere() -> None:
    generator = torch.Generator().manual_seed(3)
    spec = spec_of(16)
    net = GruNet(spec, generator)
    tokens = random_tokens(spec, (4, 8), generator)
    with torch.no_grad():
        whole = net(tokens, net.initial(4))
        for cut in range(1, 8):
            first = net(TokenBatch(*(c[:, :cut] for c in tokens)), net.initial(4))
            rest = net(TokenBatch(*(c[:, cut:] for c in tokens)), first[:, -1])
            torch.testing.assert_close(torch.cat([first, rest], 1), whole, atol=1e-5, rtol=0)


def test_step_equals_torch_gru_with_the_same_weights() -> None:
    generator = torch.Generator().manual_seed(5)
    spec = spec_of(24)
    net = GruNet(spec, generator)
    weights = net.weights()
    reference = torch.nn.GRU(24, 24)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            parameter.copy_(torch.from_numpy(weights["gru." + name.removesuffix("_l0")]))
        tokens = random_tokens(spec, (6,), generator)
        memory = torch.randn(6, 24, generator=generator)
        expected, _ = reference(net.embed(tokens)[None], memory[None])
        torch.testing.assert_close(net.step(tokens, memory), expected[0], atol=1e-5, rtol=0)


def test_weights_are_the_contract() -> None:
    spec = spec_of(8)
    net = GruNet(spec, torch.Generator().manual_seed(1))
    assert {name: array.shape for name, array in net.weights().items()} == weight_shapes(spec)


def test_weights_carry_everything() -> None:
    spec = spec_of(8)
    one = GruNet(spec, torch.Generator().manual_seed(1))
    other = GruNet(spec, torch.Generator().manual_seed(2))
    tokens = random_tokens(spec, (2, 5), torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert not torch.equal(one(tokens, one.initial(2)), other(tokens, other.initial(2)))
        other.set_weights(one.weights())
        assert torch.equal(one(tokens, one.initial(2)), other(tokens, other.initial(2)))


def test_a_missing_weight_is_refused() -> None:
    net = GruNet(spec_of(8))
    weights = net.weights()
    del weights["logit_scale"]
    with pytest.raises(KeyError, match="logit_scale"):
        net.set_weights(weights)


def test_item_logits_are_scaled_cosines_over_known_items_alone() -> None:
    spec = spec_of(8)
    net = GruNet(spec, torch.Generator().manual_seed(1))
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits = net.item_logits(hidden).numpy()
    table = net.weights()["item_embedding"][: spec.item_count].astype(np.float64)
    rows = hidden.numpy().astype(np.float64)
    norms = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(table, axis=1)
    np.testing.assert_allclose(logits, 16.0 * (rows @ table.T) / norms, atol=1e-5)
    assert logits.shape == (5, spec.item_count)


def test_a_dead_hidden_state_scores_zero_not_nan() -> None:
    net = GruNet(spec_of(8))
    with torch.no_grad():
        assert torch.equal(net.item_logits(torch.zeros(1, 8)), torch.zeros(1, 7))
