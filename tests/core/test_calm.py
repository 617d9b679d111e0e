"""Calm stretches: the compiled form judges and learns as the one in Python, to the bit."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.calibration import Reservoir
from stream_app.core.calm import (
    NORMAL,
    STOPS,
    UNCALIBRATED,
    UNJUDGED,
    Verdicts,
    pass_calm,
    unjudged,
)

LAW = settings(deadline=None)
RATE = 0.1
SCORES = st.lists(st.one_of(st.integers(0, 9).map(float), st.floats(0, 9, width=32)), max_size=300)
MARKS = st.sampled_from([0] * 12 + [STOPS, UNJUDGED, STOPS | UNJUDGED])


def judged(
    held: Reservoir, scores: list[float], marks: list[int], first_offset: int
) -> tuple[list[int], Verdicts]:
    """Where the stretches end, each going on behind the one before, and the verdicts."""
    verdicts = unjudged(np.array(scores, np.float32))
    offsets = np.arange(first_offset, first_offset + len(scores), dtype=np.int64)
    k, stops = 0, []
    while k < len(scores):
        told = np.array(marks, np.uint8)
        k = pass_calm(held, verdicts, offsets, told, k, len(scores), RATE) + 1
        stops.append(k - 1)
    return stops, verdicts


@LAW
@given(
    shipped=SCORES,
    scores=SCORES,
    data=st.data(),
    size=st.sampled_from([40, 256, 600]),
    first_offset=st.integers(0, 1 << 62),
)
def test_both_forms_judge_and_learn_alike(
    shipped: list[float], scores: list[float], data: st.DataObject, size: int, first_offset: int
) -> None:
    marks = data.draw(st.lists(MARKS, min_size=len(scores), max_size=len(scores)))
    found = []
    for compiled in (None, False):
        held = Reservoir(np.array(shipped, np.float32), size, compiled)
        assert (held.compiled is None) == (compiled is False)
        stops, verdicts = judged(held, scores, marks, first_offset)
        columns = (verdicts.states, verdicts.scores, verdicts.p_values)
        found.append((stops, [c.tobytes() for c in columns], held.take_changes(), held.records()))
    assert found[0] == found[1]


@LAW
@given(shipped=SCORES, scores=SCORES, first_offset=st.integers(0, 1 << 40))
def test_a_stretch_is_what_one_event_after_the_other_comes_to(
    shipped: list[float], scores: list[float], first_offset: int
) -> None:
    held, alone = (Reservoir(np.array(shipped, np.float32), 256) for _ in range(2))
    stops, verdicts = judged(held, scores, [0] * len(scores), first_offset)
    for k, score in enumerate(scores):
        expected = alone.p_value(score) if len(alone) >= 10 / RATE else math.nan
        if k in stops:
            assert expected <= RATE
            continue
        assert verdicts.states[k] == (UNCALIBRATED if math.isnan(expected) else NORMAL)
        assert np.array_equal(verdicts.p_values[k], expected, equal_nan=True)
        alone.learn(score, first_offset + k)
    assert held.records() == alone.records()


def test_what_is_not_judged_is_not_learned() -> None:
    held = Reservoir(np.zeros(200, np.float32), 256)
    stops, verdicts = judged(held, [9.0, 9.0], [UNJUDGED, UNJUDGED], 0)
    assert stops == [2]
    assert verdicts.tell(0).p_value is None
    assert held.take_changes() == []
