"""The checks before an export notice a graph that is not the model."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import msgspec
import numpy as np
import pytest

from model.checkpoint import Checkpoint, load, save
from model.engine import OnnxEngine, open_engine
from model.export import export
from model.parity import ParityError, check_batching, check_parity, distances
from model.spec import Advance, Memory, Rounds, Tokens
from model.stand_in import random_tokens
from tests.tiny_model import random_weights


class Tampered:
    """An engine that adds ``error`` to one output from its ``first_bad`` call on."""

    def __init__(self, engine: OnnxEngine, name: str, error: float, only_rows: int | None) -> None:
        self.engine, self.name, self.error, self.only_rows = engine, name, error, only_rows

    def __getattr__(self, name: str) -> object:
        return getattr(self.engine, name)

    def advance(self, tokens: Tokens, memory: Memory, rounds: Rounds = ()) -> Advance:
        result = self.engine.advance(tokens, memory, rounds)
        if self.only_rows is not None and len(tokens.item) != self.only_rows:
            return result
        if self.name == "hidden":
            hidden = result.memory.hidden + np.asarray(self.error, result.memory.hidden.dtype)
            return msgspec.structs.replace(result, memory=Memory(hidden, result.memory.log_z))
        changed = getattr(result, self.name) + np.float32(self.error)
        return msgspec.structs.replace(result, **{self.name: changed})


@pytest.fixture
def checkpoint(tiny_model: Path) -> Checkpoint:
    return load(tiny_model)


def test_the_exported_engine_passes(checkpoint: Checkpoint, tiny_engine: OnnxEngine) -> None:
    steps = random_tokens(checkpoint.spec, rows=40, length=10, seed=0)
    assert 0 < check_parity(checkpoint, tiny_engine, steps) < 2e-3
    check_batching(tiny_engine, steps)


@pytest.mark.parametrize("name", ["hidden", "top_logp", "item_surprise", "cart", "gap_logp"])
def test_a_wrong_output_is_named(
    checkpoint: Checkpoint, tiny_engine: OnnxEngine, name: str
) -> None:
    steps = random_tokens(checkpoint.spec, rows=40, length=3, seed=0)
    wrong = Tampered(tiny_engine, name, 0.3, None)
    with pytest.raises(ParityError, match=rf"after 1 events {name} .* nothing was exported"):
        check_parity(checkpoint, wrong, steps)  # type: ignore[arg-type]


@pytest.mark.parametrize(("scale", "passes"), [(8.0, False), (60.0, True)])
def test_large_logits_may_lose_digits_of_their_own(
    tiny_engine_with: Callable[..., OnnxEngine], tmp_path: Path, scale: float, passes: bool
) -> None:
    spec = tiny_engine_with(memory_dtype="float32").spec
    weights = random_weights(spec) | {"logit_scale": np.array(scale, np.float32)}
    save(tmp_path, spec, [f"i{code}" for code in range(spec.item_count)], weights)
    steps = random_tokens(spec, rows=40, length=2, seed=0)
    assert export(tmp_path, steps).parity < scale * 2.0**-19
    off = Tampered(open_engine(tmp_path), "cart", 4e-5, None)
    with nullcontext() if passes else pytest.raises(ParityError, match="cart"):
        check_parity(load(tmp_path), off, steps)  # type: ignore[arg-type]


def test_no_number_is_no_parity(checkpoint: Checkpoint, tiny_engine: OnnxEngine) -> None:
    steps = random_tokens(checkpoint.spec, rows=4, length=1, seed=0)
    with pytest.raises(ParityError):
        check_parity(checkpoint, Tampered(tiny_engine, "cart", np.nan, None), steps)  # type: ignore[arg-type]


def test_users_may_have_fewer_events_than_others(
    checkpoint: Checkpoint, tiny_engine: OnnxEngine
) -> None:
    first, second = random_tokens(checkpoint.spec, rows=8, length=2, seed=0)
    fewer = Tokens(second.item[:3], second.action[:3], second.gap[:3], second.dense[:3])
    assert check_parity(checkpoint, tiny_engine, [first, fewer]) < 2e-3
    check_batching(tiny_engine, [first, fewer])


@pytest.mark.parametrize("size", [1, 5])
def test_bits_that_depend_on_the_batch_are_noticed(tiny_engine: OnnxEngine, size: int) -> None:
    steps = random_tokens(tiny_engine.spec, rows=40, length=2, seed=0)
    with pytest.raises(ParityError, match=rf"changes bits between a batch of {size} and one of 40"):
        check_batching(Tampered(tiny_engine, "cart", 1e-7, size), steps)  # type: ignore[arg-type]


def test_distances_are_relative_above_one(tiny_engine: OnnxEngine) -> None:
    (tokens,) = random_tokens(tiny_engine.spec, rows=4, length=1, seed=0)
    right = tiny_engine.advance(tokens, tiny_engine.initial(4))
    twenty = msgspec.structs.replace(right, item_surprise=np.full(4, 20.0, np.float32))
    off = msgspec.structs.replace(right, item_surprise=np.full(4, 20.2, np.float32))
    assert distances(off, twenty)["item_surprise"] == pytest.approx(0.01, rel=1e-3)
    assert distances(right, right) == dict.fromkeys(distances(right, right), 0.0)
