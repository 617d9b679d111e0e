"""Agreement counts what was missed; latency is the best round an event."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from model.engine import OnnxEngine
from model.measure import BATCH_SIZES, SECONDS_PER_SIZE, agreement, latency_us, raced_us
from model.spec import Advance, Memory, Rounds, Tokens
from model.stand_in import random_tokens


class Blurred:
    """An engine whose log Z is off by a constant and whose worst items are others."""

    def __init__(self, engine: OnnxEngine, log_z_error: float, lost: int) -> None:
        self.engine, self.log_z_error, self.lost = engine, log_z_error, lost

    def advance(self, tokens: Tokens, memory: Memory, rounds: Rounds = ()) -> Advance:
        result = self.engine.advance(tokens, memory, rounds)
        items = result.top_items.copy()
        items[:, items.shape[1] - self.lost :] = -1
        log_z = result.memory.log_z + np.float32(self.log_z_error)
        memory = Memory(result.memory.hidden, log_z)
        return msgspec.structs.replace(result, top_items=items, memory=memory)


@pytest.mark.parametrize(("log_z_error", "lost"), [(0.0, 0), (0.25, 5), (-0.5, 20)])
def test_agreement_is_what_was_taken_away(
    tiny_engine: OnnxEngine, log_z_error: float, lost: int
) -> None:
    steps = random_tokens(tiny_engine.spec, rows=30, length=2, seed=0)
    found = agreement(tiny_engine, Blurred(tiny_engine, log_z_error, lost), steps)  # type: ignore[arg-type]
    assert found.queries == 60
    assert found.recall == 1 - lost / 20
    assert found.log_z_error_median == pytest.approx(log_z_error, abs=1e-6)
    assert found.log_z_error_p99 == pytest.approx(abs(log_z_error), abs=1e-6)
    assert found.log_z_error_max == pytest.approx(abs(log_z_error), abs=1e-6)


def test_the_int8_scan_agrees_with_the_exact_one(
    tiny_engine_with: Callable[..., OnnxEngine],
) -> None:
    fields = {"item_count": 1_100, "hidden_width": 33, "features": ("a",)}
    exact = tiny_engine_with(scan="exact", **fields)
    int8 = tiny_engine_with(scan="int8", **fields)
    found = agreement(exact, int8, random_tokens(exact.spec, rows=200, length=3, seed=9))
    assert found.recall > 0.999
    assert found.log_z_error_p99 < 0.02


def test_latency_is_the_best_round_an_event(tiny_engine: OnnxEngine) -> None:
    seconds = iter(range(10**6))

    def clock() -> float:
        return next(seconds) * SECONDS_PER_SIZE / 8

    # Every look at this clock takes an eighth of the time for a size, and a round looks twice.
    round_us = SECONDS_PER_SIZE / 8 * 1e6
    found = latency_us(tiny_engine, clock)
    assert found == {str(rows): pytest.approx(round_us / rows, rel=0.01) for rows in BATCH_SIZES}


def test_engines_run_in_turn_on_the_same_events(
    tiny_engine: OnnxEngine, tiny_engine_with: Callable[..., OnnxEngine]
) -> None:
    other = tiny_engine_with(features=tiny_engine.spec.features, seed=1)
    order: list[str] = []

    class Heard:
        def __init__(self, name: str, engine: OnnxEngine) -> None:
            self.name, self.engine = name, engine

        def __getattr__(self, name: str) -> object:
            return getattr(self.engine, name)

        def advance(self, tokens: Tokens, memory: Memory, rounds: Rounds = ()) -> Advance:
            order.append(self.name)
            heard.append(tokens.item)
            return self.engine.advance(tokens, memory, rounds)

    heard: list[np.ndarray] = []
    steps = random_tokens(tiny_engine.spec, rows=30, length=2, seed=3)
    fewer = msgspec.structs.replace(
        steps[1], **{name: getattr(steps[1], name)[:20] for name in Tokens.__struct_fields__}
    )
    seconds = iter(range(10**6))
    found = raced_us(
        [Heard("a", tiny_engine), Heard("b", other)],  # type: ignore[list-item]
        [steps[0], fewer],
        lambda: next(seconds) * SECONDS_PER_SIZE / 50,
    )
    assert order[2:] and order == ["a", "b"] * (len(order) // 2)
    assert {tuple(items) for items in heard if len(items) == 64} == {
        tuple(step.item[np.arange(64) % 20]) for step in (steps[0], fewer)
    }
    assert [set(costs) for costs in found] == [{"1", "64", "256"}] * 2
    assert found[0] == found[1]  # a clock that each call moves alike
