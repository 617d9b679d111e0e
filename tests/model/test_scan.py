"""The exact scan: the best K with ties by lowest code, and log Z, for every size of catalogue."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.scan import GROUP, GROUPED_FROM, exact_scan, whole_groups
from tests.model.scan_sessions import run_scan, wanted

SIZES = [1, 5, 31, 64, GROUPED_FROM - 1, GROUPED_FROM, GROUPED_FROM + 1, GROUPED_FROM + 75]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.sampled_from(SIZES), spread=st.integers(1, 40))
def test_the_best_are_found_and_the_lowest_code_wins_a_tie(
    seed: int, size: int, spread: int
) -> None:
    rng = np.random.default_rng(seed)
    # Small whole numbers: float32 adds them without error, and many items share a score.
    vectors = rng.integers(-spread, spread + 1, (size, 3)).astype(np.float32)
    queries = rng.integers(-1, 2, (5, 3)).astype(np.float32)
    top_k = min(size, int(rng.integers(1, 60)))
    items, logits, _ = run_scan(partial(exact_scan, top_k=top_k), vectors, queries)
    right_items, right_logits, _ = wanted(vectors, queries, top_k)
    np.testing.assert_array_equal(items, right_items)
    np.testing.assert_array_equal(logits, right_logits)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 60.0])
def test_log_z_is_the_log_of_the_softmax_denominator(size: int, scale: float) -> None:
    rng = np.random.default_rng(size)
    vectors = rng.standard_normal((size, 16)).astype(np.float32)
    vectors *= scale / np.linalg.norm(vectors, axis=1, keepdims=True)
    # Towards and away from an item: the largest and the smallest scores that there can be.
    queries = np.concatenate([vectors[:3], -vectors[:3]]) / max(scale, 1.0)
    _, _, log_z = run_scan(partial(exact_scan, top_k=1), vectors, queries)
    np.testing.assert_allclose(log_z, wanted(vectors, queries, 1)[2], rtol=2e-6, atol=2e-6)


def test_more_wanted_than_there_are_groups() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((GROUPED_FROM + 3, 8)).astype(np.float32)
    queries = rng.standard_normal((2, 8)).astype(np.float32)
    top_k = GROUPED_FROM // GROUP + 50
    items, _, _ = run_scan(partial(exact_scan, top_k=top_k), vectors, queries)
    np.testing.assert_array_equal(items, wanted(vectors, queries, top_k)[0])


def test_whole_groups_and_rest_are_everything() -> None:
    vectors = np.arange(2 * GROUP + 5, dtype=np.float32)[:, None]
    grouped, rest = whole_groups(vectors)
    assert (len(grouped), len(rest)) == (2 * GROUP, 5)
    np.testing.assert_array_equal(np.concatenate([grouped, rest]), vectors)
