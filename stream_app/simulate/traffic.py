"""When sessions begin: a Poisson process with the cycles of day and week."""

import math
from collections.abc import Iterator
from random import Random

from stream_app.simulate.config import DAY_MS, SimulatorConfig

WARM_UP_MS = 600_000
_BUSIEST_HOUR = 20
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0


def intensity(at_ms: int, day_cycle: float) -> float:
    """Traffic at a time as a multiple of the mean of the week."""
    hour = at_ms % DAY_MS / 3_600_000
    day = 1 + day_cycle * math.cos(2 * math.pi * (hour - _BUSIEST_HOUR) / 24)
    weekend = (at_ms // DAY_MS + _EPOCH_WEEKDAY) % 7 >= 5
    return day * (1 + day_cycle * (0.25 if weekend else -0.1))


def beginnings(config: SimulatorConfig, sessions_per_second: float, rng: Random) -> Iterator[int]:
    """The times, in epoch milliseconds, at which sessions begin. Endless; the first ones lie before
    the start, so that the shop opens with people in it."""
    highest = (1 + config.day_cycle) * (1 + 0.25 * config.day_cycle)
    mean_gap_ms = 1000 / (sessions_per_second * highest)
    at_ms = float(config.start_ms - WARM_UP_MS)
    while True:
        at_ms += rng.expovariate(1 / mean_gap_ms)
        # Thinning (Lewis and Shedler, 1979): candidates at the highest rate, kept in proportion.
        if rng.random() * highest < intensity(int(at_ms), config.day_cycle):
            yield int(at_ms)
