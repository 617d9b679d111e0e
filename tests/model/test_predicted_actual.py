"""Predicted and actual numbers add up to the same questions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data import NONE
from model.predicted_actual import by_class, by_item


@given(st.lists(st.integers(NONE, 4), min_size=1, max_size=40), st.integers(0, 9))
def test_classes_add_up_to_the_known_answers(targets: list[int], seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(len(targets), 5)).astype(np.float32)
    found = by_class(logits, np.array(targets, np.int32))
    known = [target for target in targets if target != NONE]
    assert (found == []) == (known == [])
    assert [row["actual"] for row in found] == [known.count(c) for c in range(5)][: len(found)]
    assert sum(row["predicted"] for row in found) == pytest.approx(len(known))


def test_classes_by_hand() -> None:
    logits = np.log(np.array([[0.25, 0.75], [0.5, 0.5]], np.float32))
    assert by_class(logits, np.array([0, 0], np.int32)) == [
        {"predicted": pytest.approx(0.75), "actual": 2},
        {"predicted": pytest.approx(1.25), "actual": 0},
    ]


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=40),
    st.lists(st.integers(0, 50), max_size=60),
)
def test_bins_of_items_keep_the_totals(expected: list[float], targets: list[int]) -> None:
    found = by_item(np.array(expected), np.array(targets, np.int32))
    assert sum(row["items"] for row in found) == len(expected)
    for key, total in (
        ("predicted", sum(expected)),
        ("actual", sum(target < len(expected) for target in targets)),
    ):
        assert sum(row[key] * row["items"] for row in found) == pytest.approx(total)
    means = [row["predicted"] for row in found]
    assert means == sorted(means)
