"""The index of the projected scan: what it keeps of the items, and its way through a file."""

import numpy as np
import pytest

from model.scan_index import (
    ITEM_STEPS,
    QUERY_OFFSET,
    build_index,
    index_bytes,
    principal_directions,
    read_index,
)


def vectors(items: int = 205, width: int = 16) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((items, width)).astype(np.float32)


def test_directions_turn_without_stretching() -> None:
    directions = principal_directions(vectors())
    np.testing.assert_allclose(directions.T @ directions, np.eye(16), atol=1e-5)
    lengths = np.square(vectors() @ directions).sum(axis=0)
    assert (np.diff(lengths) <= 0).all()


def test_rough_items_are_the_items_in_steps() -> None:
    index = build_index(vectors(), 8, 64)
    rough = index.packed.transpose(0, 2, 1, 3).reshape(-1, 8)[:205]
    along = vectors() @ index.directions
    assert np.abs(rough).max() == ITEM_STEPS
    assert np.abs(rough * index.item_step - along).max() <= index.item_step / 2 * 1.001


def test_the_bias_takes_the_offset_out_and_padding_never_wins() -> None:
    index = build_index(vectors(), 8, 64)
    rough = index.packed.transpose(0, 2, 1, 3).reshape(-1, 8).astype(np.int64)
    assert (QUERY_OFFSET * rough[:205].sum(axis=1) + index.bias[:205] == 0).all()
    assert (index.bias[205:] < -(1 << 29)).all()


def test_it_reads_back_from_its_bytes() -> None:
    index = build_index(vectors(), 8, 64)
    found = read_index(index_bytes(index), vectors())
    for name in (*index.STORED, "vectors"):
        np.testing.assert_array_equal(getattr(found, name), getattr(index, name))
    assert (found.dims, found.keep, found.correction) == (8, 64, (0.0, 0.0))


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
