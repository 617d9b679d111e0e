"""Intervals of metrics, and of the differences of two models on the same questions."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.log import Longs

_DRAWS = 1_000
# Draws done at once: 16 MB of counts.
_CELLS = 2_000_000
_LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate and the middle 95 of 100 bootstrap draws."""

    value: float
    low: float
    high: float


def recall_of(ranks: Longs, cut: int) -> npt.NDArray[np.float64]:
    """1 for each question whose target is within the cut, else 0. [M]"""
    return (ranks <= cut).astype(np.float64)


def reciprocal_of(ranks: Longs, cut: int) -> npt.NDArray[np.float64]:
    """One over the rank of each question's target, 0 beyond the cut. [M]"""
    return np.where(ranks <= cut, 1 / ranks, 0.0)


def interval(
    values: npt.NDArray[np.float64], clusters: Longs, rng: np.random.Generator
) -> Interval:
    """The mean of values [M] and its interval.

    Whole clusters [M] (sessions) are drawn, since the questions of a session are alike. For the
    difference of two models give the differences of their values (a paired bootstrap).
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    count = int(cluster.max()) + 1
    sums = np.bincount(cluster, weights=values, minlength=count)
    sizes = np.bincount(cluster, minlength=count)
    means: list[npt.NDArray[np.float64]] = []
    step = max(1, _CELLS // count)
    for begin in range(0, _DRAWS, step):
        drawn = rng.integers(count, size=(min(step, _DRAWS - begin), count))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    edge = (1 - _LEVEL) / 2
    low, high = np.quantile(np.concatenate(means), (edge, 1 - edge))
    return Interval(float(values.mean()), float(low), float(high))


def draws(
    clusters: Longs, count: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.float64]]:
    """How often each of the questions [M] is in each of ``count`` draws of whole clusters [M]."""
    _, cluster = np.unique(clusters, return_inverse=True)
    total = int(cluster.max()) + 1
    for _ in range(count):
        times = np.bincount(rng.integers(total, size=total), minlength=total)
        yield times[cluster].astype(np.float64)


def intervals_of(ranks: Longs, clusters: Longs) -> dict[str, dict[str, float]]:
    """Recall@20 and MRR@20 of ranks [M] with their intervals over the clusters [M]."""
    rng = np.random.default_rng(0)
    values = {"recall@20": recall_of(ranks, 20), "mrr@20": reciprocal_of(ranks, 20)}
    return {name: interval(value, clusters, rng)._asdict() for name, value in values.items()}
