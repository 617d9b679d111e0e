"""Calibration error by hand, and its bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.reliability import reliability


def test_by_hand() -> None:
    found = reliability(np.array([0.95, 0.95, 0.25, 1.0]), np.array([True, False, False, True]))
    assert found["ece"] == pytest.approx((abs(2.9 - 2) + abs(0.25 - 0)) / 4)
    assert found["curve"] == [
        {"confidence": pytest.approx(0.25), "accuracy": 0.0, "n": 1},
        {"confidence": pytest.approx(2.9 / 3), "accuracy": pytest.approx(2 / 3), "n": 3},
    ]
    assert reliability(np.zeros(0), np.zeros(0, bool)) == {"ece": None, "curve": []}


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_the_error_is_a_mean_distance_of_probabilities(pairs: list[tuple[float, bool]]) -> None:
    found = reliability(np.array([p for p, _ in pairs]), np.array([hit for _, hit in pairs]))
    assert 0 <= found["ece"] <= 1
    assert sum(row["n"] for row in found["curve"]) == len(pairs)
