"""The contract's own promises: codes, hashes, and specs that contradict themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.spec import (
    ModelSpec,
    SpecError,
    Vocabulary,
    action_hash,
    fingerprint_of,
    item_hash,
)

SPEC = {"name": "m", "item_count": 3, "hidden_width": 2, "top_k": 2}


@given(st.lists(st.text(), unique=True, min_size=1), st.text(), st.integers(1, 40))
def test_codes_are_known_items_cold_buckets_or_no_item(
    items: list[str], other: str, cold_buckets: int
) -> None:
    vocabulary = Vocabulary(items, cold_buckets)
    assert [vocabulary.code(item) for item in items] == list(range(len(items)))
    assert vocabulary.code(None) == len(items) + cold_buckets
    code = vocabulary.code(other)
    assert (code < len(items)) == (other in items)
    assert code < len(items) + cold_buckets


@given(st.text())
def test_hashes_fit_their_fields_and_spare_zero(text: str) -> None:
    assert 0 < item_hash(text) < 1 << 32
    assert 0 <= action_hash(text) < 1 << 16


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"format": 2}, "format 2"),
        ({"actions": ("view", "cart")}, "begin with"),
        ({"actions": ("_close", "other", "view", "view")}, "share a name"),
        ({"gap_edges_ms": (5, 5)}, "rise strictly"),
        ({"item_count": 0}, "at least 1"),
        ({"ring_length": 251}, "2 to 250"),
        ({"window_ms": 0}, "window_ms"),
        ({"top_k": 4}, "top_k must be 1 to item_count=3"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        ModelSpec(**(SPEC | wrong))  # type: ignore[arg-type]


def test_an_item_named_twice_is_refused() -> None:
    with pytest.raises(SpecError, match="twice"):
        Vocabulary(["a", "a"], 1)


@given(
    st.lists(st.text(), unique=True, max_size=20),
    st.lists(st.text(), max_size=9),
    st.integers(1, 40),
)
def test_a_hash_is_read_as_the_item_that_it_is_of(
    items: list[str], others: list[str], buckets: int
) -> None:
    vocabulary = Vocabulary(items, buckets)
    asked = [*items, *others]
    hashes = np.array([item_hash(item) for item in asked], np.uint32)
    codes = vocabulary.codes_of(np.append(hashes, np.uint32(0)))
    assert codes.dtype == np.int32
    assert codes.tolist() == [vocabulary.code(item) for item in [*asked, None]]
    assert vocabulary.codes_of(hashes.reshape(1, -1)).tolist() == [codes[:-1].tolist()]


def test_of_items_that_share_a_hash_the_first_is_meant() -> None:
    twins = ["plumless", "buckeroo"]  # a known collision of CRC-32
    assert item_hash(twins[0]) == item_hash(twins[1])
    hashes = np.array([item_hash("buckeroo")], np.uint32)
    assert Vocabulary(["a", *twins], 4).codes_of(hashes).tolist() == [1]


def test_the_fingerprint_names_spec_vocabulary_and_every_weight() -> None:
    spec = ModelSpec(**SPEC)  # type: ignore[arg-type]
    weights = {"a": np.zeros((2, 3), np.float32)}
    own = fingerprint_of(spec, ["x"], weights)
    assert own == fingerprint_of(spec, ["x"], {"a": np.zeros((2, 3), np.float32)})
    assert len(own) == 8
    others = [
        fingerprint_of(ModelSpec(**(SPEC | {"name": "n"})), ["x"], weights),  # type: ignore[arg-type]
        fingerprint_of(spec, ["y"], weights),
        fingerprint_of(spec, ["x"], {"b": weights["a"]}),
        fingerprint_of(spec, ["x"], {"a": weights["a"].reshape(3, 2)}),
        fingerprint_of(spec, ["x"], {"a": weights["a"] + 1}),
    ]
    assert len({own, *others}) == 6
