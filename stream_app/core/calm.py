"""Verdicts by event, and long stretches of them at once: most events are calm, which means that
their verdict is all there is to say."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.core.alerts import fewest_scores
from stream_app.core.c_library import addresses
from stream_app.core.calibration import Reservoir
from stream_app.core.events import Verdict

STATES: tuple[Any, ...] = ("normal", "anomalous", "uncalibrated")
NORMAL, ANOMALOUS, UNCALIBRATED = range(3)
# Marks of events: not calm whatever the score; neither judged nor learned.
STOPS, UNJUDGED = 1, 2

Doubles = npt.NDArray[np.float64]
Marks = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


class Verdicts(msgspec.Struct, frozen=True):
    """By entry of the results; see `Verdict`."""

    states: Marks  # [N] places in STATES
    scores: Doubles  # [N] nats
    p_values: Doubles  # [N], NaN: none

    def put(self, k: int, state: int, p_value: float = np.nan) -> None:
        self.states[k], self.p_values[k] = state, p_value

    def tell(self, k: int) -> Verdict:
        p_value, score = float(self.p_values[k]), round(float(self.scores[k]), 4)
        told = None if np.isnan(p_value) else round(p_value, 6)
        return Verdict(STATES[self.states[k]], score, told)


def unjudged(scores: npt.NDArray[np.floating[Any]]) -> Verdicts:
    """Verdicts of as many scores, before any is judged."""
    n = len(scores)
    states, p_values = np.empty(n, np.uint8), np.empty(n)
    states.fill(UNCALIBRATED)
    p_values.fill(np.nan)
    return Verdicts(states, scores.astype(np.float64), p_values)


def pass_calm(
    reservoir: Reservoir,
    verdicts: Verdicts,
    offsets: Offsets,
    marks: Marks,
    first: int,
    end: int,
    rate: float,
) -> int:
    """Judge and learn events from ``first`` on while they are calm. The number of the first that is
    left: it is marked to stop, or its p-value is not above the rate, or it is ``end``."""
    if reservoir.compiled is None:
        return _pass_calm(reservoir, verdicts, offsets, marks, first, end, rate)
    told = addresses(verdicts.scores, offsets, marks)
    found = addresses(verdicts.p_values, verdicts.states)
    rule = rate, fewest_scores(rate)
    return int(reservoir.compiled.calm(reservoir.arrays, *told, first, end, *rule, *found))


def _pass_calm(
    reservoir: Reservoir,
    verdicts: Verdicts,
    offsets: Offsets,
    marks: Marks,
    first: int,
    end: int,
    rate: float,
) -> int:
    fewest = fewest_scores(rate)
    for k in range(first, end):
        if marks[k] & STOPS:
            return k
        if marks[k] & UNJUDGED:
            verdicts.put(k, UNCALIBRATED)
            continue
        score = float(verdicts.scores[k])
        if len(reservoir) >= fewest:
            p_value = reservoir.p_value(score)
            if p_value <= rate:
                return k
            verdicts.put(k, NORMAL, p_value)
        else:
            verdicts.put(k, UNCALIBRATED)
        reservoir.learn(score, int(offsets[k]))
    return end
