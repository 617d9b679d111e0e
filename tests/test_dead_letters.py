"""What is listed is what is there, and what is sent again is what was sent first."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.batch import EventBatch
from stream_app.core.clean import Rejected
from stream_app.core.decide import rejected_record
from stream_app.core.events import REASONS, RejectedRecord, Source
from stream_app.dead_letters import (
    REPLAYED_FROM,
    Letter,
    Original,
    Tally,
    Wanted,
    decode_letter,
    decode_whole,
    is_same,
    original,
    replayed_from,
)

HEADERS = st.lists(st.tuples(st.text(max_size=200), st.binary(max_size=1_200)), max_size=40)
KEYS = st.none() | st.binary(max_size=40) | st.binary(min_size=1_000, max_size=1_100)
VALUES = st.none() | st.binary(max_size=200) | st.integers(65_500, 65_600).map(bytes)


def letter_of(record: Original, reason: str = "schema") -> RejectedRecord:
    """The dead letter that a worker writes for a record, after its way through Kafka."""
    batch = EventBatch(
        topic="clicks", partition=3, offsets=[17], timestamps_ms=[-1], keys=[record.key],
        values=[record.value], headers=[record.headers], next_offset=18,
    )  # fmt: skip
    refused = Rejected(reason, "why")  # type: ignore[arg-type]
    return decode_whole(msgspec.json.encode(rejected_record(batch, 0, refused)))


@given(KEYS, VALUES, HEADERS)
def test_a_dead_letter_gives_the_original_or_says_that_it_cannot(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    record = Original(key, value, headers)
    found = original(letter_of(record))
    small = len(key or b"") <= 1_024 and len(value or b"") <= 65_536 and len(headers) < 32
    if small and all(len(n) < 128 and len(v or b"") < 1_024 for n, v in headers):
        assert found == record
    else:
        assert found in (None, record)


@given(KEYS, VALUES, st.integers(0, 66_000), st.integers(1, 255))
def test_the_record_behind_a_cut_letter_is_known_by_every_byte(
    key: bytes | None, value: bytes | None, at: int, flip: int
) -> None:
    record = Original(key, value, ())
    letter = letter_of(record)
    assert is_same(letter, record)
    if value:
        at %= len(value)
        other = value[:at] + bytes([value[at] ^ flip]) + value[at + 1 :]
        assert not is_same(letter, Original(key, other, ()))
        assert not is_same(letter, Original(key, value[:-1], ()))
    assert not is_same(letter, Original((key or b"") + b"x", value, ()))


@given(HEADERS, st.integers(0, 2**40))
def test_a_copy_names_the_record_that_was_rejected_last(
    headers: list[tuple[str, bytes | None]], offset: int
) -> None:
    first, second = Source("clicks", 3, 17), Source("clicks", 3, offset)
    once = Original(None, b"", headers).again(first)
    twice = Original(None, b"", once).again(second)
    assert replayed_from(once) == first
    assert replayed_from(twice) == second
    own = [pair for pair in headers if pair[0] != REPLAYED_FROM]
    assert (once[:-1], twice[:-1]) == (own, own)


def test_strange_headers_are_of_no_replay() -> None:
    assert replayed_from([]) is None
    assert replayed_from([(REPLAYED_FROM, None)]) is None
    assert replayed_from([(REPLAYED_FROM, b"\xff-1-2-")]) is None


LETTERS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(REASONS), st.integers(0, 2), st.integers(0, 5))
)


@given(LETTERS, st.integers(0, 4))
def test_the_tally_counts_all_and_keeps_the_newest(
    rows: list[tuple[int, str, int, int]], newest: int
) -> None:
    tally = Tally(newest)
    for at_ms, reason, partition, offset in rows:
        tally.add(at_ms, Letter(reason, "", "clicks", partition, offset))
    assert tally.records == len(rows)
    assert all(count == sum(r[1] == name for r in rows) for name, count in tally.reasons.items())
    kept = [(at, letter.partition, letter.offset) for at, letter in tally.newest()]
    assert kept == sorted(((at, p, o) for at, _, p, o in rows), reverse=True)[:newest]


@given(LETTERS, st.frozensets(st.sampled_from(REASONS)), st.frozensets(st.integers(0, 2)))
def test_wanted_is_what_every_filter_takes(
    rows: list[tuple[int, str, int, int]], reasons: frozenset[str], partitions: frozenset[int]
) -> None:
    wanted = Wanted(reasons, partitions)  # type: ignore[arg-type]
    for _, reason, partition, offset in rows:
        taken = wanted.has(Letter(reason, "", "clicks", partition, offset))
        assert taken == (reason in (reasons or REASONS) and partition in (partitions or range(3)))


def test_a_list_needs_no_value() -> None:
    letter = letter_of(Original(b"k", b"x" * 70_000, ()), "size")
    found = decode_letter(msgspec.json.encode(letter))
    assert (found.reason, found.source, found.key, found.value_size) == (
        "size", Source("clicks", 3, 17), b"k", 70_000,
    )  # fmt: skip
