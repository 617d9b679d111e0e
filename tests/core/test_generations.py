"""Rows move between layouts with their heads and their newest events, whatever wrote them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.spec import ModelSpec
from stream_app.core import window
from stream_app.core.generations import (
    MEMORY_FIELDS,
    MOST_GENERATIONS,
    KnownModel,
    read_stranger,
    relaid,
    same_layout,
    translated,
    trimmed,
)
from stream_app.core.state import (
    ACTION_CODE,
    NAMES_SESSION,
    STARTS_SESSION,
    Rows,
    StateCodec,
    row_dtype,
)
from tests.tiny_model import tiny_spec


def spec(width: int = 8, ring: int = 6, memory: str = "float16") -> ModelSpec:
    return tiny_spec(hidden_width=width, ring_length=ring, memory_dtype=memory)


SPECS = st.builds(
    spec, st.integers(1, 9), st.integers(2, 9), st.sampled_from(["float16", "float32"])
)


def random_rows(of: ModelSpec, count: int, seed: int) -> Rows:
    """Rows as they might be: any head, memories, and rings of any fill from any place."""
    rng = np.random.default_rng(seed)
    dtype = row_dtype(of)
    rows = np.frombuffer(rng.bytes(dtype.itemsize * count), dtype).copy()
    rows["format"], rows["event_id"] = 3, b"e1"
    rows["used"] = rng.integers(0, of.ring_length + 1, count)
    rows["next"] = (
        np.where(
            rows["used"] == of.ring_length, rng.integers(0, of.ring_length, count), rows["used"]
        )
        % of.ring_length
    )
    return rows


def events(rows: Rows) -> list[list[bytes]]:
    """The rings' entries, oldest first."""
    places = window.by_rank(rows)
    return [
        [row["ring"][place].tobytes() for place in places[n][: row["used"]]]
        for n, row in enumerate(rows)
    ]


@given(one=SPECS, other=SPECS, seed=st.integers(0, 99))
def test_heads_and_newest_events_move_to_any_layout(
    one: ModelSpec, other: ModelSpec, seed: int
) -> None:
    rows = random_rows(one, 7, seed)
    moved = relaid(rows, other)
    assert moved.dtype == row_dtype(other)
    for name in set(rows.dtype.names or ()) - {*MEMORY_FIELDS, "ring", "used", "next"}:
        assert moved[name].tobytes() == rows[name].tobytes()
    assert events(moved) == [held[max(len(held) - other.ring_length, 0) :] for held in events(rows)]
    assert events(relaid(moved, one)) == events(trimmed(rows, other.ring_length, one))
    if row_dtype(one)["hidden"].itemsize == row_dtype(other)["hidden"].itemsize:
        assert moved["hidden"].tobytes() == rows["hidden"].tobytes()
    assert same_layout(one, other) == (rows.dtype == moved.dtype)


@given(one=SPECS, other=SPECS, seed=st.integers(0, 99))
def test_a_value_of_any_model_is_read(one: ModelSpec, other: ModelSpec, seed: int) -> None:
    rows = random_rows(one, 3, seed)
    for n, value in enumerate(StateCodec(one).pack(rows)):
        stranger = read_stranger(value)
        assert stranger is not None
        assert events(relaid(stranger, other)) == events(relaid(rows[n : n + 1], other))
        assert stranger["last_event_ms"] == rows["last_event_ms"][n]


@pytest.mark.parametrize("value", [b"", b"\x03", b"\x09" * 400, bytes([3, 200]) + bytes(300)])
def test_what_is_no_row_is_not_read(value: bytes) -> None:
    assert read_stranger(value) is None


@given(seed=st.integers(0, 99))
def test_actions_keep_their_names_and_sessions_their_marks(seed: int) -> None:
    old, new = ("_close", "other", "view", "cart"), ("_close", "other", "cart", "buy", "view")
    rows = random_rows(spec(), 4, seed)
    codes = rows["ring"]["action"] % len(old)
    flags = rows["ring"]["action"] & (NAMES_SESSION | STARTS_SESSION)
    rows["ring"]["action"] = codes | flags
    translated(rows, old, new)
    found = rows["ring"]["action"].copy()
    assert np.array_equal(found & ~np.uint8(ACTION_CODE), flags)
    names = np.array(new)[found & ACTION_CODE]
    assert np.array_equal(names, np.array(old)[codes])
    translated(rows, new, ("_close", "other", "view"))
    kept = np.where(
        np.isin(names, ["cart", "buy"]), 1, np.array([0, 1, 9, 9, 2])[found & ACTION_CODE]
    )
    assert np.array_equal(rows["ring"]["action"] & ACTION_CODE, kept)


def test_a_known_model_tells_the_layout_of_its_rows() -> None:
    of = spec(5, 7, "float32")
    known = KnownModel("m-1", b"12345678", of.actions, 5, "float32", 7, of.session_gap_ms, 7)
    assert same_layout(known.layout(), of)
    assert known.layout().session_gap_ms == of.session_gap_ms
    assert MOST_GENERATIONS <= 256  # a byte in each row names one
