"""Ranks and metrics against their definitions; ties are ranked worst."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.ranking import CUTS, MISS, metrics_of, worst_ranks

few_levels = arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 30)), elements=st.integers(0, 3)
)


@given(few_levels, st.randoms(use_true_random=False))
def test_a_rank_counts_all_that_is_not_behind(scores: np.ndarray, random: object) -> None:
    targets = np.array([int(sum(row)) % scores.shape[1] for row in scores])
    for row, target, rank in zip(scores, targets, worst_ranks(scores, targets), strict=True):
        assert rank == sum(score >= row[target] for score in row)
        worst_order = sorted(range(len(row)), key=lambda i: (-row[i], i == target))
        assert worst_order.index(target) + 1 == rank


def test_a_constant_scorer_ranks_everything_last() -> None:
    assert worst_ranks(np.ones((3, 50)), np.array([0, 20, 49])).tolist() == [50, 50, 50]


def test_nan_is_never_a_hit() -> None:
    scores = np.array([[np.nan, 1.0, 2.0], [3.0, np.nan, 1.0]])
    assert worst_ranks(scores, np.array([0, 0])).tolist() == [3, 2]


def test_metrics_by_hand() -> None:
    table = metrics_of(np.array([1, 3, 20, 21, MISS]))
    assert table["n"] == 5
    assert table["recall@1"] == 0.2
    assert table["recall@5"] == 0.4
    assert table["recall@20"] == 0.6
    assert table["mrr@20"] == pytest.approx((1 + 1 / 3 + 1 / 20) / 5)
    assert table["mrr@10"] == pytest.approx((1 + 1 / 3) / 5)
    assert table["ndcg@20"] == pytest.approx((1 + 1 / 2 + 1 / math.log2(21)) / 5)


@given(arrays(np.int64, st.integers(1, 20), elements=st.integers(1, 40) | st.just(int(MISS))))
def test_metrics_follow_their_definitions(ranks: np.ndarray) -> None:
    table = metrics_of(ranks)
    for k in CUTS:
        hits = [int(rank) for rank in ranks if rank <= k]
        assert table[f"recall@{k}"] == pytest.approx(len(hits) / len(ranks))
        assert table[f"mrr@{k}"] == pytest.approx(sum(1 / r for r in hits) / len(ranks))
        assert table[f"ndcg@{k}"] == pytest.approx(
            sum(1 / math.log2(r + 1) for r in hits) / len(ranks)
        )
    assert table["mrr@20"] <= table["ndcg@20"] <= table["recall@20"]


def test_no_ranks_are_an_error_with_advice() -> None:
    with pytest.raises(ValueError, match="longer sessions"):
        metrics_of(np.zeros(0, np.int64))
