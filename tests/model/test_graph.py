"""The law of the served step: a forward pass, repeated steps and the ONNX engine agree."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from model import graph
from model.engine import OnnxEngine
from model.nets import GruNet, TokenBatch
from model.parity import TOLERANCE
from model.scan import GROUPED_FROM
from model.spec import Advance, Memory, Tokens
from model.stand_in import random_tokens
from tests.tiny_model import random_weights, tiny_spec

USERS, EVENTS = 16, 12


CASES = [
    {"features": ("a", "b")},
    {"features": (), "gap_edges_ms": ()},
    {"hidden_width": 1, "item_count": 1, "top_k": 1, "features": ("a",)},
    {"hidden_width": 48, "item_count": GROUPED_FROM + 9},
]


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Two threads on matrices this small wait for each other more than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def torch_tokens(tokens: list[Tokens]) -> TokenBatch:
    """[B, T] of T steps of B users."""
    return TokenBatch(
        *(
            torch.from_numpy(np.stack([getattr(step, name) for step in tokens], axis=1))
            for name in ("item", "action", "gap", "dense")
        )
    )


def forward_scores(net: GruNet, tokens: list[Tokens]) -> list[dict[str, torch.Tensor]]:
    """What the engine should say after each event, by torch over whole sequences."""
    with torch.no_grad():
        hidden = net(torch_tokens(tokens), net.initial(USERS))  # [B, T, H]
        before = torch.cat([net.initial(USERS)[:, None], hidden[:, :-1]], dim=1)
        item_logp = net.item_logits(hidden).log_softmax(-1)
        return [
            {
                "hidden": hidden[:, t],
                "top_logp": item_logp[:, t].topk(net_top_k(net, item_logp)).values,
                "log_z": net.item_logits(hidden[:, t]).logsumexp(-1),
                "action_logp": net.action_logits(hidden[:, t]).log_softmax(-1),
                "cart": net.intent_logits(hidden[:, t])[:, 0].sigmoid(),
                "purchase": net.intent_logits(hidden[:, t])[:, 1].sigmoid(),
                "gap_logp": net.gap_logits(hidden[:, t]).log_softmax(-1),
                "item_surprise": item_surprise(net, before[:, t], tokens[t]),
                "action_surprise": -net.action_logits(before[:, t])
                .log_softmax(-1)
                .gather(1, torch.from_numpy(tokens[t].action)[:, None].long())[:, 0],
            }
            for t in range(EVENTS)
        ]


def net_top_k(net: GruNet, item_logp: torch.Tensor) -> int:
    return min(20, item_logp.shape[-1])


def item_surprise(net: GruNet, before: torch.Tensor, tokens: Tokens) -> torch.Tensor:
    codes = torch.from_numpy(tokens.item).long()
    known = codes < net.item_count
    logp = net.item_logits(before).log_softmax(-1)
    chosen = logp.gather(1, codes.clamp(max=net.item_count - 1)[:, None])[:, 0]
    return torch.where(known, -chosen, 0.0)


def named(result: Advance) -> dict[str, np.ndarray]:
    outputs = {name: getattr(result, name) for name in Advance.__struct_fields__[1:]}
    del outputs["top_items"]
    return outputs | {"hidden": result.memory.hidden, "log_z": result.memory.log_z}


@pytest.mark.parametrize("memory_dtype", ["float32", "float16"])
@pytest.mark.parametrize("fields", CASES, ids=lambda fields: "-".join(map(str, fields)))
def test_forward_is_repeated_step_is_the_engine(
    tiny_engine_with: Callable[..., OnnxEngine], fields: dict[str, object], memory_dtype: str
) -> None:
    engine = tiny_engine_with(memory_dtype=memory_dtype, **fields)
    weights = random_weights(engine.spec)
    net = GruNet(engine.spec)
    net.set_weights(weights)
    tokens = random_tokens(engine.spec, rows=USERS, length=EVENTS, seed=4)
    tolerance = TOLERANCE[memory_dtype]
    memory = engine.initial(USERS)
    stepped = net.initial(USERS)
    for step, wanted in zip(tokens, forward_scores(net, tokens), strict=True):
        with torch.no_grad():
            one = TokenBatch(*(column[:, 0] for column in torch_tokens([step])))
            stepped = net.step(one, stepped)
        np.testing.assert_allclose(stepped, wanted["hidden"], atol=1e-5, rtol=0)
        served = engine.advance(step, memory)
        memory = served.memory
        for name, value in named(served).items():
            np.testing.assert_allclose(
                value, wanted[name], atol=tolerance, rtol=tolerance, err_msg=name
            )


def test_codes_that_are_no_known_item_surprise_nobody(tiny_engine: OnnxEngine) -> None:
    spec = tiny_engine.spec
    codes = np.arange(spec.input_count, dtype=np.int32)
    zeros = np.zeros_like(codes)
    dense = np.zeros((len(codes), len(spec.features)), dtype=np.float32)
    step = tiny_engine.advance(Tokens(codes, zeros, zeros, dense), tiny_engine.initial(len(codes)))
    assert (step.item_surprise[: spec.item_count] > 0).all()
    assert (step.item_surprise[spec.item_count :] == 0).all()
    # Under one memory all users expect the same: the known items share the whole probability.
    shares = np.exp(-step.item_surprise[: spec.item_count].astype(np.float64))
    np.testing.assert_allclose(shares.sum(), 1.0, atol=1e-5)


def test_what_was_predicted_is_what_the_next_event_is_priced_with(tiny_engine: OnnxEngine) -> None:
    (first,) = random_tokens(tiny_engine.spec, rows=40, length=1, seed=8)
    before = tiny_engine.advance(first, tiny_engine.initial(40))
    best = before.top_items[:, 0]
    after = tiny_engine.advance(Tokens(best, first.action, first.gap, first.dense), before.memory)
    np.testing.assert_allclose(-after.item_surprise, before.top_logp[:, 0], atol=2e-6)
    chosen = before.action_logp[np.arange(40), first.action]
    np.testing.assert_allclose(-after.action_surprise, chosen, atol=2e-6)


def test_a_memory_of_zeros_expects_every_item_alike(
    tiny_engine_with: Callable[..., OnnxEngine],
) -> None:
    engine = tiny_engine_with()
    codes = np.arange(30, dtype=np.int32)
    zeros = np.zeros_like(codes)
    memory = Memory(np.zeros((30, 8), np.float16), np.full(30, np.log(30), np.float32))
    step = engine.advance(Tokens(codes, zeros, zeros, np.zeros((30, 0), np.float32)), memory)
    np.testing.assert_allclose(step.item_surprise, np.log(30), atol=1e-6)


def test_a_graph_keeps_the_model_that_it_was_built_of() -> None:
    spec = tiny_spec()
    weights = random_weights(spec)
    one = graph.build(spec, weights, b"12345678")
    assert one == graph.build(spec, weights, b"12345678")
    assert all(b"12345678".hex().encode() in content for content in one)
