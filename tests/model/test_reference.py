"""The float64 reference against torch, which shares no code with it."""

import numpy as np
import pytest
import torch

from model import reference
from model.checkpoint import NORM_FLOOR
from model.nets import GruNet, TokenBatch
from model.spec import Memory
from model.stand_in import random_tokens
from tests.tiny_model import random_weights, tiny_spec


def test_it_is_the_net_that_was_trained() -> None:
    spec = tiny_spec(features=("a", "b"))
    weights = random_weights(spec, seed=2)
    net = GruNet(spec)
    net.set_weights(weights)
    memory = reference.initial(spec, weights, 9)
    memory = Memory(memory.hidden.astype(np.float32), memory.log_z)
    for tokens in random_tokens(spec, rows=9, length=4, seed=3):
        before = torch.from_numpy(memory.hidden)
        result = reference.advance(spec, weights, tokens, memory)
        columns = (tokens.item, tokens.action, tokens.gap, tokens.dense)
        with torch.no_grad():
            after = net.step(TokenBatch(*map(torch.from_numpy, columns)), before)
            top = net.item_logits(after).log_softmax(-1).topk(spec.top_k)
        np.testing.assert_allclose(result.memory.hidden, after, atol=1e-6)
        np.testing.assert_array_equal(result.top_items, top.indices)
        np.testing.assert_allclose(result.top_logp, top.values, atol=1e-5)
        memory = result.memory


def test_memory_keeps_its_type() -> None:
    spec = tiny_spec(memory_dtype="float16")
    weights = random_weights(spec)
    (tokens,) = random_tokens(spec, rows=3, length=1, seed=0)
    rounded = reference.initial(spec, weights, 3)
    assert rounded.hidden.dtype == np.float16
    assert reference.advance(spec, weights, tokens, rounded).memory.hidden.dtype == np.float16
    whole = Memory(rounded.hidden.astype(np.float32), rounded.log_z)
    assert reference.advance(spec, weights, tokens, whole).memory.hidden.dtype == np.float32


@pytest.mark.parametrize("size", [0.0, NORM_FLOOR / 1000])
def test_a_memory_without_direction_scores_every_item_almost_alike(size: float) -> None:
    spec = tiny_spec()
    weights = random_weights(spec) | {"initial_hidden": np.full(8, size, dtype=np.float32)}
    assert reference.initial(spec, weights, 2).log_z == pytest.approx(np.log(30), abs=0.01)
