"""A user's state survives its bytes; older bytes are read; foreign ones are refused."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.spec import ModelSpec
from stream_app.core.state import (
    DWELL_SHIFT,
    EXPECTED,
    FORMAT,
    ID_HIGH_HASH,
    NAMES_SESSION,
    NO_ACTION,
    RING_ENTRY,
    STARTS_SESSION,
    Rows,
    StateCodec,
    StateError,
    read_event_id,
    row_dtype,
    stored_event_id,
)

SPEC = ModelSpec(name="s", item_count=3, top_k=2, hidden_width=2, ring_length=4)
CODEC = StateCodec(SPEC)
LAW = settings(deadline=None)


@st.composite
def rows(draw: st.DrawFn, spec: ModelSpec = SPEC) -> Rows:
    """Rows of any bytes whatever, of which only what the codec reads itself is made sound."""
    dtype = row_dtype(spec)
    count = draw(st.integers(1, 3))
    size = dtype.itemsize * count
    seed = draw(st.binary(min_size=16, max_size=64))
    found = np.frombuffer((seed * (size // len(seed) + 1))[:size], dtype).copy()
    found["format"] = FORMAT
    found["used"] = draw(st.lists(st.integers(0, spec.ring_length), min_size=count, max_size=count))
    found["event_id"] = draw(st.text(max_size=9)).encode().rstrip(b"\0")
    found["next"][found["used"] == spec.ring_length] = 0
    for row in found:
        row["ring"][int(row["used"]) :] = np.zeros((), RING_ENTRY)
    return found


@LAW
@given(found=rows(), turn=st.integers(0, SPEC.ring_length - 1))
def test_where_a_full_ring_begins_is_not_told(found: Rows, turn: int) -> None:
    """A row that was restored under another model begins anew, and must not look altered."""
    turned = found.copy()
    for row in turned[found["used"] == SPEC.ring_length]:
        row["ring"], row["next"] = np.roll(row["ring"], turn), turn
    assert CODEC.pack(turned) == CODEC.pack(found)


@LAW
@given(found=rows())
def test_rows_survive_their_bytes(found: Rows) -> None:
    for row, value in zip(found, CODEC.pack(found), strict=True):
        again = CODEC.unpack(value)
        assert again.shape == (1,)
        assert again[0].tobytes() == row.tobytes()
        assert CODEC.pack(again) == [value]


@LAW
@given(found=rows(), data=st.data())
def test_plain_values_are_unpacked_together(found: Rows, data: st.DataObject) -> None:
    """Among values that are none: of no user, cut, of another format, with a tail, too long."""
    values = CODEC.pack(found)
    whole, id_at = values[0], CODEC.dtype.fields["event_id"][1]  # type: ignore[index]
    others = [b"", whole[:-1], b"\2" + whole[1:], whole[:id_at] + b"\xff" + whole[id_at + 1 :]]
    others += [whole + b"\0", whole + bytes(CODEC.dtype.itemsize), whole[:1] + b"\x09" + whole[2:]]
    mixed = data.draw(st.permutations([*values, *others]))
    unpacked, is_plain = CODEC.unpack_plain(mixed)
    plain = [value for value, told in zip(mixed, is_plain, strict=True) if told]
    assert sorted(plain) == sorted(values)
    assert unpacked.tobytes() == b"".join(CODEC.unpack(value).tobytes() for value in plain)


@LAW
@given(found=rows())
def test_every_cut_of_a_value_is_refused(found: Rows) -> None:
    value = CODEC.pack(found[:1])[0]
    for end in range(len(value)):
        with pytest.raises(StateError):
            CODEC.unpack(value[:end])


@settings(deadline=None, max_examples=300)
@given(value=st.binary(max_size=220), version=st.integers(0, 5), used=st.integers(0, 9))
def test_any_bytes_are_a_row_or_refused(value: bytes, version: int, used: int) -> None:
    for candidate in (value, bytes([version, used]) + value):
        try:
            row = CODEC.unpack(candidate)
        except StateError:
            continue
        assert row.shape == (1,)
        assert row["format"] == FORMAT
        assert row["used"] <= SPEC.ring_length


@pytest.mark.parametrize("length", [2, 3, 5, 8, 50])
def test_a_ring_of_another_length_is_refused_once_it_does_not_fit(length: int) -> None:
    other = ModelSpec(name="s", item_count=3, top_k=2, hidden_width=2, ring_length=length)
    row = np.zeros(1, row_dtype(other))
    row["format"], row["used"] = FORMAT, length
    value = StateCodec(other).pack(row)[0]
    if length <= SPEC.ring_length:
        assert CODEC.unpack(value)["used"] == length
    else:
        with pytest.raises(StateError, match="another memory width or ring length"):
            CODEC.unpack(value)


def test_a_newer_format_names_what_can_be_read() -> None:
    row = np.zeros(1, CODEC.dtype)
    row["format"] = FORMAT + 1
    with pytest.raises(StateError, match=f"format {FORMAT + 1}; this program reads formats 1 to"):
        CODEC.unpack(row.tobytes())


def test_a_full_user_of_the_default_model_fits_one_and_a_half_kibibytes() -> None:
    spec = ModelSpec(name="default", item_count=30, hidden_width=128)
    row = np.zeros(1, row_dtype(spec))
    row["used"] = spec.ring_length
    assert spec.ring_length == 50
    assert len(StateCodec(spec).pack(row)[0]) <= 1536
    assert len(StateCodec(spec).pack(np.zeros(1, row_dtype(spec)))[0]) < 768  # a new user


# --- bytes in changelogs out there: no change may make them unreadable

HEAD = {
    "used": 2,
    "next": 2,
    "session_open": 1,
    "last_offset": 0x0102030405060708,
    "last_event_ms": 1_700_000_000_000,
    "session_started_ms": 1_699_999_000_000,
    "ring_base_ms": 1_697_852_000_000,
    "session_hash": 0x0000A1B2C3D4E5F6,
    "last_item": 0xDEADBEEF,
    "events_total": 1000,
    "session_events": 12,
    "sessions_total": 34,
    "log_z": 3.5,
    "close_surprise": 1.25,
    "alert_opened_ms": 1_699_999_500_000,
    "alert_offset": 77,
    "alert_events": 5,
    "alert_quiet": 2,
    "alert_severity": 3,
    "alert_peak": 9.5,
    "anchor_log_z": 3.25,
}
HIDDEN, ANCHOR = (0.5, -2.0), (1.0, 0.25)
# item, at, id_low, id_high, action, surprise
RING = [(7, 0x80000000, 0x11223344, 0x5566, 2, 0.75), (0, 0x80001000, 1, 2, 3, 11.0)]

COMMON_HEAD = (
    "02 02 01"  # used, next, session_open
    "08 07 06 05 04 03 02 01"  # last_offset
    "00 68 e5 cf 8b 01 00 00"  # last_event_ms
    "c0 25 d6 cf 8b 01 00 00"  # session_started_ms
    "00 87 dd 4f 8b 01 00 00"  # ring_base_ms
    "f6 e5 d4 c3 b2 a1 00 00"  # session_hash
    "ef be ad de  e8 03 00 00  0c 00 00 00  22 00 00 00"  # last_item .. sessions_total
    "00 00 60 40  00 00 a0 3f"  # log_z, close_surprise
    "e0 c6 dd cf 8b 01 00 00  4d 00 00 00 00 00 00 00"  # alert_opened_ms, alert_offset
    "05 00 00 00  02 03  00 00 18 41"  # alert_events, quiet, severity, peak
)
GOLDEN_HEAD = COMMON_HEAD + "e6 03 00 00  00 00 50 40"  # anchor_at, anchor_log_z
GOLDEN_EXPECTED = (
    "02 00 00 00  00 00 00 00  ff ff ff ff"  # expected_item
    "00 b8  00 bc  00 00"  # expected_item_logp
    "02 03 ff"  # expected_action
    "00 b4  00 bc  00 c0"  # expected_action_logp
)
GOLDEN_TAIL = (
    "00 38  00 c0  00 3c  00 34"  # hidden, anchor
    "07 00 00 00  00 00 00 80  44 33 22 11  66 55  02  00 3a"
    "00 00 00 00  00 10 00 80  01 00 00 00  02 00  03  80 49"
)


GOLDEN_NEWS = (
    "02 07 03 01"  # anchor_age, generation, revision
    "08 07 06 05 04 03 02 01"  # newest_offset
)
GOLDEN_ID = b"0191f3b2-7c4e-7d1a-9a53-5f0c1f0e9d11"
# The same ring with a dwell code, a session's name and its start.
GOLDEN_TAIL_3 = (
    "00 38  00 c0  00 3c  00 34"  # hidden, anchor
    "07 00 00 00  00 00 00 80  44 33 22 11  66 a5  82  00 3a"
    "00 00 00 00  00 10 00 80  01 00 00 00  02 00  43  80 49"
)


def assert_is_the_golden_user(row: Rows) -> None:
    for name, value in HEAD.items():
        assert row[name][0] == value, name
    assert row["anchor_age"][0] == 2
    assert row["hidden"][0].tolist() == list(HIDDEN)
    assert row["anchor"][0].tolist() == list(ANCHOR)
    assert not row["ring"][0][2:].tobytes().strip(b"\0")


def assert_is_migrated(row: Rows) -> None:
    """Hashes keep their lower 44 bits; nothing is known that older formats did not say."""
    assert_is_the_golden_user(row)
    assert row["format"] == FORMAT
    known = [(item, at, low, high & 0xFFF, code, nats) for item, at, low, high, code, nats in RING]
    assert [tuple(entry) for entry in row["ring"][0][:2].tolist()] == known
    assert (row["newest_offset"][0], row["event_id"][0], row["revision"][0]) == (-1, b"", 0)
    assert CODEC.unpack(CODEC.pack(row)[0]).tobytes() == row.tobytes()


def test_format_1_is_still_read() -> None:
    row = CODEC.unpack(bytes.fromhex("01" + GOLDEN_HEAD + GOLDEN_TAIL))
    assert_is_migrated(row)
    assert row["expected_item"][0].tolist() == [-1] * EXPECTED
    assert row["expected_action"][0].tolist() == [NO_ACTION] * EXPECTED


def test_format_2_is_still_read() -> None:
    row = CODEC.unpack(bytes.fromhex("02" + GOLDEN_HEAD + GOLDEN_EXPECTED + GOLDEN_TAIL))
    assert_is_migrated(row)
    assert_expectations(row)


def assert_expectations(row: Rows) -> None:
    assert row["expected_item"][0].tolist() == [2, 0, -1]
    assert row["expected_item_logp"][0].tolist() == [-0.5, -1.0, 0.0]
    assert row["expected_action"][0].tolist() == [2, 3, NO_ACTION]
    assert row["expected_action_logp"][0].tolist() == [-0.25, -1.0, -2.0]


def test_format_3_is_these_bytes() -> None:
    head = COMMON_HEAD + "00 00 50 40" + GOLDEN_EXPECTED + GOLDEN_NEWS
    golden = b"".join(
        (bytes.fromhex("03" + head), GOLDEN_ID, bytes.fromhex(GOLDEN_TAIL_3)),
    )
    row = CODEC.unpack(golden)
    assert_is_the_golden_user(row)
    assert_expectations(row)
    news = ("generation", "revision", "newest_offset", "event_id")
    assert [row[name][0] for name in news] == [7, 259, 0x0102030405060708, GOLDEN_ID]
    first, second = row["ring"][0][:2]
    assert first["id_high"] & ID_HIGH_HASH == 0x566
    assert first["id_high"] >> DWELL_SHIFT == 10
    assert first["action"] == STARTS_SESSION | 2
    assert second["action"] == NAMES_SESSION | 3
    assert CODEC.pack(row) == [golden]


@LAW
@given(times=st.lists(st.integers(0, 9), max_size=9), data=st.data())
def test_an_older_ring_is_brought_into_the_order_of_event_time(
    times: list[int], data: st.DataObject
) -> None:
    """Formats 1 and 2 kept the order of arrival; what arrived last wins among equal times."""
    length = SPEC.ring_length
    old = np.zeros(1, row_dtype(SPEC, 2))
    for number, at in enumerate(times):
        old["ring"][0, number % length] = (number, at, number, 0xF000, 3, 0)
    used = min(len(times), length)
    old["format"], old["used"], old["next"] = 2, used, len(times) % length
    began = data.draw(st.integers(0, 9))
    kept = sorted(range(len(times) - used, len(times)), key=lambda number: times[number])
    inside = [number for number in kept if times[number] >= began]
    old["session_started_ms"], old["session_events"] = began, len(inside)
    value = old.tobytes()
    row = CODEC.unpack(value[: len(value) - (length - used) * RING_ENTRY.itemsize])
    oldest = (int(row["next"][0]) - used) % length
    entries = [row["ring"][0, (oldest + rank) % length] for rank in range(used)]
    assert [int(entry["item"]) for entry in entries] == kept
    assert {int(entry["id_high"]) for entry in entries} <= {0}
    starts = [n for n, e in zip(kept, entries, strict=True) if e["action"] & STARTS_SESSION]
    assert starts == inside[:1]


def test_the_head_is_little_endian_without_padding() -> None:
    values = [value for name, value in HEAD.items() if name != "anchor_log_z"]
    assert bytes.fromhex(COMMON_HEAD) == struct.pack("<BBBqqqqQIIIIffqqIBBf", *values)


# --- event ids

IDS = st.none() | st.text(min_size=1, max_size=128).filter(lambda text: len(text.encode()) <= 128)


@LAW
@given(event_id=IDS | st.sampled_from(["a" * 36, "a" * 37, "a\0", "\0", "é" * 18, "é" * 19]))
def test_an_event_id_of_any_length_survives(event_id: str | None) -> None:
    row = np.zeros(1, CODEC.dtype)
    row["format"] = FORMAT
    held, tail = stored_event_id(event_id)
    row["event_id"] = held
    (value,) = CODEC.pack(row, {0: tail} if tail else {})
    assert CODEC.tail(value) == tail
    assert read_event_id(bytes(CODEC.unpack(value)["event_id"][0]), tail) == event_id
    for end in range(len(value)):
        with pytest.raises(StateError):
            CODEC.unpack(value[:end])
