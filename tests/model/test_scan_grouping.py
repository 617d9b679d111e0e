"""Items in clusters of equal size, near each other in what queries tell apart."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.scan_grouping import equal_parts, group_items
from model.scan_index import LANES


@settings(max_examples=50, deadline=None)
@given(items=st.integers(1, 400), size=st.integers(1, 50), seed=st.integers(0, 9))
def test_parts_hold_every_row_once_and_only_the_last_is_short(
    items: int, size: int, seed: int
) -> None:
    # Whole numbers: many points share a place.
    points = np.random.default_rng(seed).integers(0, 3, (items, 4)).astype(np.float32)
    parts = equal_parts(points, size)
    assert np.sort(np.concatenate(parts)).tolist() == list(range(items))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert 1 <= len(parts[-1]) <= size
    assert all((np.diff(part) > 0).all() for part in parts)


def test_parts_are_near_each_other_where_queries_look() -> None:
    vectors = np.random.default_rng(0).standard_normal((640, 16)).astype(np.float32)
    metric = np.diag([1e-6] * 14 + [1.0, 1.0])
    grouping = group_items(vectors, metric, block=2)
    parts = vectors[grouping.order].reshape(-1, 2 * LANES, 16)
    spread = parts.var(axis=1).mean(axis=0)
    assert spread[14:].max() < 0.1 < 0.8 < spread[:14].min()
    np.testing.assert_allclose(grouping.centres, parts.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(np.diagonal(grouping.within), spread, rtol=1e-4)
    np.testing.assert_allclose(
        grouping.variance, parts[:, :, 14:].var(axis=1).sum(axis=1), rtol=1e-3, atol=1e-4
    )
