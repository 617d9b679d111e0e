"""Does a worker that runs for hours stay as it is? Slopes and stalls, judged from samples."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

WARM_UP = 0.25
"""The share of the samples in which memory may still grow: caps fill, arenas settle."""

NOISE_DEVIATIONS = 3.0
ALLOWED_SHARE = 0.02

STALL_SECONDS = 5.0


class Sample(NamedTuple):
    """A worker at one moment."""

    at_seconds: float
    resident_bytes: int
    descriptors: int


class Trend(NamedTuple):
    """A quantity after the warm-up: what a straight line through it gained, and its noise."""

    first: float
    last: float
    growth: float  # of the line, over the whole time
    noise: float
    per_hour: float

    @property
    def is_flat(self) -> bool:
        return self.growth <= max(self.noise, ALLOWED_SHARE * self.first, 1.0)


class Window(NamedTuple):
    """Time in which a fault was injected and its consequences were allowed for."""

    start: float
    end: float


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """The least squares line behind the warm-up. Its noise is that of the residuals: growth that
    cannot be told from the ups and downs of a quarter of an hour is none.
    """
    skipped = int(len(times) * WARM_UP)
    at, seen = np.asarray(times[skipped:], float), np.asarray(values[skipped:], float)  # [N]
    slope, start = np.polyfit(at, seen, 1)
    line = slope * at + start  # [N]
    return Trend(
        first=float(line[0]),
        last=float(line[-1]),
        growth=float(line[-1] - line[0]),
        noise=float(NOISE_DEVIATIONS * np.std(seen - line)),
        per_hour=float(slope * 3_600),
    )


def stalls(
    arrivals: Sequence[float], start: float, end: float, faults: Sequence[Window]
) -> tuple[float, float]:
    """The longest time without an answer in one partition, in seconds: outside the windows of
    faults, and anywhere.

    A silence that touches a window counts with what of it lies outside, before or behind.
    """
    marks = [start, *sorted(at for at in arrivals if start <= at <= end), end]
    outside = anywhere = 0.0
    for begin, until in pairwise(marks):
        anywhere = max(anywhere, until - begin)
        if until - begin > outside:
            outside = max([outside, *pieces(begin, until, faults)])
    return outside, anywhere


def pieces(begin: float, until: float, faults: Sequence[Window]) -> list[float]:
    """Lengths of what the windows leave of a stretch of time."""
    left, at = [], begin
    for window in sorted(faults):
        if window.end > at and window.start < until:
            left.append(max(0.0, window.start - at))
            at = max(at, window.end)
    left.append(max(0.0, until - at))
    return left
