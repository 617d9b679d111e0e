"""The index of the projected scan: what it keeps of the items, and its way through a file."""

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from model.scan_build import build_index, cluster_index, product_directions
from model.scan_grouping import group_items
from model.scan_index import ScanIndex, index_bytes, read_index


def vectors(items: int = 205, width: int = 16) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((items, width)).astype(np.float32)


def clustered(items: int = 205) -> ScanIndex:
    whole = vectors(items)
    return cluster_index(
        whole, product_directions(whole), 8, 20, group_items(whole, np.eye(16), 2), 5
    )


@pytest.mark.parametrize("index", [build_index(vectors(), 8, 64), clustered()])
def test_it_reads_back_from_its_bytes(index: ScanIndex) -> None:
    found = read_index(index_bytes(index), vectors())
    assert found.arrays().keys() == index.arrays().keys()
    for name, array in index.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array)
    np.testing.assert_array_equal(found.vectors, index.vectors)
    assert (found.dims, found.keep, found.correction) == (8, index.keep, (0.0, 0.0))


@pytest.mark.parametrize(
    ("content", "items", "message"),
    [
        (b"", 205, "no index"),
        (index_bytes(build_index(vectors(), 8, 64))[:-1], 205, "no index"),
        (index_bytes(build_index(vectors(), 8, 64)), 300, "packed is"),
    ],
)
def test_what_is_no_index_of_the_model_is_refused(content: bytes, items: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_index(content, vectors(items))


def changed(name: str, place: int, value: float) -> bytes:
    arrays: dict[str, Any] = load(index_bytes(clustered()))
    arrays[name].reshape(-1)[place] = value
    return save(arrays)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("order", 0, 7), "order"),
        (changed("order", 0, -1), "order"),
        (changed("cluster_constants", 2, 14), "14 of 13 clusters"),
        (changed("cluster_constants", 2, 2), "need not have 20 items"),
        (changed("cluster_constants", 1, 0), "centre_packed is"),
        (changed("cluster_constants", 1, 2.0**40), "packed is"),
        (changed("cluster_constants", 1, np.nan), "NaN"),
        (changed("log_weight", 0, np.inf), "no number"),
        (changed("spread", 3, np.nan), "no number"),
        (changed("constants", 4, 206), "constants"),
        (changed("constants", 2, np.nan), "constants"),
        (save({**clustered().arrays(), "spread": np.zeros(3)}), "spread is"),
        (save({**clustered().arrays(), "cluster_constants": np.zeros(0)}), "no index"),
        (save({k: v for k, v in clustered().arrays().items() if k != "order"}), "no index"),
    ],
)
def test_clusters_that_a_scan_would_fall_over_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_index(content, vectors())


def test_more_directions_than_the_scan_takes_are_refused() -> None:
    wide = vectors(300, 264)
    with pytest.raises(ValueError, match="264 directions, not 256"):
        read_index(index_bytes(build_index(wide, 264, 64)), wide)
