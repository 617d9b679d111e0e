"""A metered engine answers as the engine itself, and all of its time is on the meter."""

import numpy as np
import pytest

from model.engine import EngineError, OnnxEngine
from model.spec import Tokens
from stream_app.delegates import Meter, Metered


class Clock:
    """Five nanoseconds pass between two looks at it."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += 5
        return self.now_ns


def tokens_of(engine: OnnxEngine, items: list[int]) -> Tokens:
    rows = len(items)
    codes = (np.array(items, np.int32), *np.zeros((2, rows), np.int32))
    return Tokens(*codes, np.zeros((rows, len(engine.spec.features)), np.float32))


def test_steps_are_answered_and_counted(tiny_engine: OnnxEngine) -> None:
    meter = Meter(Clock())
    first, second = Metered(tiny_engine, meter), Metered(tiny_engine, meter)
    tokens, memory = tokens_of(tiny_engine, [1, 2]), tiny_engine.initial(2)
    answered, wanted = first.advance(tokens, memory), tiny_engine.advance(tokens, memory)
    assert np.array_equal(answered.top_items, wanted.top_items)
    assert np.array_equal(answered.memory.hidden, wanted.memory.hidden)
    assert meter.spent_ns == 5
    second.advance(tokens, memory)
    assert meter.spent_ns == 10
    assert meter.seconds == 1e-8


def test_a_step_that_fails_is_counted_too(tiny_engine: OnnxEngine) -> None:
    meter = Meter(Clock())
    with pytest.raises(EngineError):
        Metered(tiny_engine, meter).advance(
            tokens_of(tiny_engine, [tiny_engine.spec.input_count]), tiny_engine.initial(1)
        )
    assert meter.spent_ns == 5
