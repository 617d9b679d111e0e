"""Coverage, concentration and popularity bias at their ends."""

import numpy as np
import pytest

from model.breadth import breadth

POPULARITY = np.array([8, 4, 2, 1], np.int64)


def test_all_alike() -> None:
    found = breadth(np.full(4, 5), POPULARITY, np.array([0, 1, 2, 3], np.int32))
    assert found["coverage"] == 1
    assert found["gini"] == pytest.approx(0)
    assert found["popularity_bias"] == pytest.approx(0)


def test_the_most_popular_alone() -> None:
    found = breadth(np.array([9, 0, 0, 0]), POPULARITY, np.array([3, 9], np.int32))
    assert found["coverage"] == 0.25
    assert found["gini"] == pytest.approx(0.75)
    assert found["shown_popularity"] == pytest.approx(3.5 / 4)
    assert found["target_popularity"] == pytest.approx(0.5 / 4)  # item 9 is unknown
    assert found["popularity_bias"] == pytest.approx(0.75)


def test_nothing_shown() -> None:
    found = breadth(np.zeros(4, np.int64), POPULARITY, np.zeros(0, np.int32))
    assert found["coverage"] == found["gini"] == 0
