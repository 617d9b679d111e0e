"""Numbers to standardise features with, from how often each of their values occurs."""

from collections.abc import Iterable
from math import fsum, isfinite, sqrt

import msgspec


class Statistics(msgspec.Struct, frozen=True):
    """Of the values that are there; ``std`` is that of the population, 0 of a constant."""

    count: int
    mean: float
    std: float
    minimum: float
    maximum: float


def statistics_of(values: Iterable[tuple[float, int]]) -> Statistics | None:
    """Statistics of values with their numbers, in whatever order; None without any.

    Sums are exact before they are rounded (``math.fsum``), so that the order does not show.
    """
    pairs = sorted((value, n) for value, n in values if isfinite(value))
    count = sum(n for _, n in pairs)
    if not count:
        return None
    mean = fsum(value * n for value, n in pairs) / count
    variance = fsum((value - mean) ** 2 * n for value, n in pairs) / count
    return Statistics(count, mean, sqrt(variance), pairs[0][0], pairs[-1][0])
