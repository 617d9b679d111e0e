"""Intervals hold what they should, and questions of a session count together."""

import numpy as np
import pytest

from model.bootstrap import draws, interval, recall_of, reciprocal_of
from model.ranking import MISS


def test_values_of_ranks() -> None:
    ranks = np.array([1, 2, 20, 21, MISS])
    assert recall_of(ranks, 20).tolist() == [1, 1, 1, 0, 0]
    assert reciprocal_of(ranks, 20) == pytest.approx([1, 0.5, 0.05, 0, 0])


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        values = (rng.random(150) < 0.3).astype(float)
        found = interval(values, np.arange(150), rng)
        assert found.low <= found.value <= found.high
        held += found.low <= 0.3 <= found.high
    assert held >= 52


def test_alike_questions_are_one() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(40), 25)
    apart = interval(values, np.arange(1_000), np.random.default_rng(1))
    together = interval(values, np.repeat(np.arange(40), 25), np.random.default_rng(1))
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_no_difference_is_no_difference() -> None:
    found = interval(np.zeros(10), np.arange(10), np.random.default_rng(0))
    assert found == (0, 0, 0)


def test_draws_are_of_whole_clusters() -> None:
    cluster = np.array([7, 7, 3, 9, 9, 9])
    for times in draws(cluster, 50, np.random.default_rng(0)):
        assert times[0] == times[1] and times[3] == times[4] == times[5]
        assert times[0] + times[2] + times[3] == 3
