"""The projected scan: both forms agree to the bit, and with a full scan as its index allows."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import compiled_scan
from model.compiled_scan import CompiledForm
from model.native_scan import ItemScan, is_compiled
from model.scan_build import build_index, cluster_index, product_directions
from model.scan_grouping import group_items
from model.scan_index import LANES, ScanIndex
from model.scan_rough import Found
from model.spec import Floats

WIDTH = 32


@cache
def shop(items: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Item vectors [V, H] that lie mostly along few directions, and unit queries [300, H]."""
    rng = np.random.default_rng(seed)
    fading = np.exp(-np.arange(WIDTH) / 6)
    vectors = rng.standard_normal((items, WIDTH)) * fading
    queries = rng.standard_normal((300, WIDTH)) * fading
    return (
        (12 * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32),
    )


def index_of(items: int, dims: int, keep: int, seed: int = 0, block: int = 0) -> ScanIndex:
    """With a ``block`` the items are in clusters of so many groups, of which a third is scanned."""
    vectors, queries = shop(items, seed)
    if not block:
        return build_index(vectors, dims, keep)
    metric = queries.T.astype(np.float64) @ queries / len(queries)
    grouping = group_items(vectors, metric, block)
    taken = max(len(grouping.centres) // 3, -(-keep // (LANES * block)) + 1)
    directions = product_directions(vectors, metric)
    return cluster_index(
        vectors, directions, dims, keep, grouping, min(taken, len(grouping.centres))
    )


def found_by(
    index: ScanIndex, queries: Floats, top: int, compiled: bool | None = None
) -> tuple[np.ndarray, ...]:
    return tuple(ItemScan(index, compiled).find(queries, queries @ index.directions, top))


def test_the_install_compiled_it() -> None:
    assert is_compiled(), "no C compiler? see the output of make setup-dev"


@settings(max_examples=40, deadline=None)
@given(
    items=st.integers(128, 1_500),
    dims=st.sampled_from([8, 16, 24, 32]),
    keep=st.integers(1, 128),
    rows=st.integers(1, 140),
    seed=st.integers(0, 3),
    block=st.sampled_from([0, 1, 2, 4, 5]),
)
def test_both_forms_give_the_same_bits(
    items: int, dims: int, keep: int, rows: int, seed: int, block: int
) -> None:
    queries, index = shop(items, seed)[1], index_of(items, dims, keep, seed, block)
    top = min(keep, 20)
    # The product of a batch may round otherwise than that of a row: it is an argument of both.
    compiled = found_by(index, queries[:rows], top, compiled=True)
    plain = found_by(index, queries[:rows], top, compiled=False)
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=30, deadline=None)
@given(
    items=st.integers(128, 1_500),
    dims=st.sampled_from([8, 24, 32]),
    keep=st.integers(1, 128),
    rows=st.integers(1, 70),
    block=st.sampled_from([0, 1, 2, 4, 5]),
)
def test_each_processor_gets_the_same_bits(
    items: int, dims: int, keep: int, rows: int, block: int
) -> None:
    queries, index = shop(items)[1], index_of(items, dims, keep, 0, block)
    scan = ItemScan(index, compiled=True)
    asked = queries[:rows], queries[:rows] @ index.directions, min(keep, 20)
    wanted = scan.find(*asked)
    assert isinstance(scan.form, CompiledForm)
    for form in range(scan.form.form):
        scan.form.form = form
        for one, other in zip(wanted, scan.find(*asked), strict=True):
            np.testing.assert_array_equal(one, other)


def test_equal_scores_rank_by_code() -> None:
    vectors = np.tile(shop(1)[0], (400, 1))
    index = build_index(vectors, 8, 64)
    queries = shop(1)[1][:3]
    for compiled in (True, False):
        assert found_by(index, queries, 20, compiled)[0].tolist() == [list(range(20))] * 3


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(st.integers(0, 299), min_size=1, max_size=80),
    block=st.sampled_from([0, 2, 4]),
)
def test_a_row_does_not_depend_on_its_batch(rows: list[int], block: int) -> None:
    queries, index = shop(700)[1], index_of(700, 16, 64, 0, block)
    along = queries @ index.directions
    scan = ItemScan(index)
    whole, part = scan.find(queries, along, 20), scan.find(queries[rows], along[rows], 20)
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one[rows], other)


@settings(max_examples=20, deadline=None)
@given(
    asked=st.lists(st.integers(1, 100), min_size=2, max_size=4),
    block=st.sampled_from([0, 2]),
    compiled=st.booleans(),
)
def test_what_is_bound_answers_what_it_is_asked_last(
    asked: list[int], block: int, compiled: bool
) -> None:
    all_queries, index = shop(700)[1], index_of(700, 16, 64, 0, block)
    queries, along = np.empty((100, WIDTH), np.float32), np.empty((100, 16), np.float32)
    found = Found.of(100, 20)
    find = ItemScan(index, compiled).bind(queries, along, found)
    for first, rows in enumerate(asked):
        queries[:rows] = all_queries[first : first + rows]
        along[:rows] = queries[:rows] @ index.directions
        find(rows)
        wanted = ItemScan(index, compiled).find(queries[:rows], along[:rows], 20)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one[:rows], other)


def test_along_all_directions_it_is_a_full_scan() -> None:
    vectors, queries = shop(1_500)
    found = ItemScan(build_index(vectors, WIDTH, 128)).find(queries, queries @ _all(vectors), 20)
    logits = queries @ vectors.T
    best = np.argsort(-logits, axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(found.top_items, best)
    np.testing.assert_allclose(
        found.top_logits, np.take_along_axis(logits, best, axis=1), rtol=1e-5, atol=1e-5
    )
    log_z = np.log(np.exp(logits.astype(np.float64)).sum(axis=1))
    np.testing.assert_allclose(found.log_z, log_z, atol=0.01)


def _all(vectors: Floats) -> Floats:
    return build_index(vectors, WIDTH, 128).directions


def test_all_clusters_are_a_full_scan() -> None:
    vectors, queries = shop(1_500)
    metric = queries.T.astype(np.float64) @ queries / len(queries)
    grouping = group_items(vectors, metric, 4)
    directions, clusters = product_directions(vectors, metric), len(grouping.centres)
    index = cluster_index(vectors, directions, WIDTH, 64, grouping, clusters)
    full = build_index(vectors, WIDTH, 64, directions)
    found, wanted = found_by(index, queries, 20), found_by(full, queries, 20)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])
    # Which of equal rough scores are scored exactly depends on their places.
    np.testing.assert_allclose(found[2], wanted[2], atol=2e-3)


def test_a_library_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_scan.library.cache_clear()
    monkeypatch.setattr(compiled_scan, "VERSION", 10_000)
    try:
        assert not is_compiled()
        index = build_index(shop(200)[0], 8, 64)
        with pytest.raises(RuntimeError, match="C compiler"):
            ItemScan(index, compiled=True)
        assert len(found_by(index, shop(200)[1][:2], 5)[0]) == 2
    finally:
        compiled_scan.library.cache_clear()
