"""The projected scan: both forms agree to the bit, and with a full scan as its index allows."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import native_scan
from model.native_scan import ItemScan, is_compiled
from model.scan_index import ScanIndex, build_index
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
)
def test_both_forms_give_the_same_bits(
    items: int, dims: int, keep: int, rows: int, seed: int
) -> None:
    vectors, queries = shop(items, seed)
    index = build_index(vectors, dims, keep)
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
)
def test_each_processor_gets_the_same_bits(items: int, dims: int, keep: int, rows: int) -> None:
    vectors, queries = shop(items)
    index = build_index(vectors, dims, keep)
    scan = ItemScan(index, compiled=True)
    asked = queries[:rows], queries[:rows] @ index.directions, min(keep, 20)
    wanted = scan.find(*asked)
    for form in range(scan._rough._form):  # type: ignore[union-attr]
        scan._rough._form = form  # type: ignore[union-attr]
        for one, other in zip(wanted, scan.find(*asked), strict=True):
            np.testing.assert_array_equal(one, other)


def test_equal_scores_rank_by_code() -> None:
    vectors = np.tile(shop(1)[0], (400, 1))
    index = build_index(vectors, 8, 64)
    queries = shop(1)[1][:3]
    for compiled in (True, False):
        assert found_by(index, queries, 20, compiled)[0].tolist() == [list(range(20))] * 3


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.integers(0, 299), min_size=1, max_size=80))
def test_a_row_does_not_depend_on_its_batch(rows: list[int]) -> None:
    vectors, queries = shop(700)
    index = build_index(vectors, 16, 64)
    along = queries @ index.directions
    scan = ItemScan(index)
    whole, part = scan.find(queries, along, 20), scan.find(queries[rows], along[rows], 20)
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one[rows], other)


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


def test_a_library_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    native_scan._library.cache_clear()
    monkeypatch.setattr(native_scan, "VERSION", 10_000)
    try:
        assert not is_compiled()
        index = build_index(shop(200)[0], 8, 64)
        with pytest.raises(RuntimeError, match="C compiler"):
            ItemScan(index, compiled=True)
        assert len(found_by(index, shop(200)[1][:2], 5)[0]) == 2
    finally:
        native_scan._library.cache_clear()
