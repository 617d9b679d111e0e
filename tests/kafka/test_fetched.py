"""Taken a batch at a time, a fetch gives what aiokafka gives record by record."""

import struct
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import (
    READ_COMMITTED,
    READ_UNCOMMITTED,
    FetchResult,
    PartitionRecords,
)
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.fetched import Fetches

TP_0 = TopicPartition("clicks", 0)
CONTROL_BIT, ATTRIBUTES_AT, CRC_AT = 0x20, 21, 17
ABORT, COMMIT = b"\x00\x00\x00\x00", b"\x00\x00\x00\x01"


class Batch(NamedTuple):
    """Of a log: what it holds, and who wrote it."""

    kept: list[bool]  # of its records; compaction took the others
    producer: int = -1
    is_transactional: bool = False
    marker: bytes | None = None


class Assignment:
    """Of one partition, whose position moves as records are taken."""

    active = True
    paused = False

    def __init__(self, position: int) -> None:
        self.position = position

    def state_value(self, tp: TopicPartition) -> "Assignment":
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


def written(batch: Batch, offset: int) -> bytes:
    kept = batch.kept
    told = (2, 0, int(batch.is_transactional), batch.producer, 0, 0, 1 << 16)
    builder = DefaultRecordBatchBuilder(*told)
    for number, is_kept in enumerate(kept):
        if is_kept or number == len(kept) - 1:
            key = batch.marker or b"k%d" % (offset + number)
            builder.append(number, 1_700_000_000_000 + number, key, b"v%d" % offset, [("h", b"x")])
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, offset)
    if batch.marker is not None:
        raw[ATTRIBUTES_AT + 1] |= CONTROL_BIT
    struct.pack_into(">I", raw, CRC_AT, calc_crc32c(raw[ATTRIBUTES_AT:]))
    return bytes(raw)


def fetched(
    log: list[Batch], position: int, isolation: int, broken: int = -1
) -> tuple[FetchResult, Assignment]:
    """A fetch of the whole log by somebody who wants what is from ``position`` on."""
    parts, aborted, begun, offset = [], [], {}, 0
    for number, batch in enumerate(log):
        raw = bytearray(written(batch, offset))
        if number == broken:
            raw[-1] ^= 1
        parts.append(bytes(raw))
        if batch.marker == ABORT and batch.producer in begun:
            aborted.append((batch.producer, begun[batch.producer]))
        if batch.marker is not None:
            begun.pop(batch.producer, None)
        elif batch.is_transactional:
            begun.setdefault(batch.producer, offset)
        offset += len(batch.kept)
    records = PartitionRecords(
        TP_0, MemoryRecords(b"".join(parts)), aborted, position, None, None, True, isolation
    )
    assignment = Assignment(position)
    return FetchResult(
        TP_0, assignment=assignment, partition_records=records, backoff=0
    ), assignment


def told(rows: list[Any]) -> list[tuple[Any, ...]]:
    return [(r.offset, r.timestamp, r.timestamp_type, r.key, r.value, [*r.headers]) for r in rows]


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[Batch], int]:
    """Plain batches, transactions that end either way, holes; and a place in the first batch."""
    kept = st.lists(st.booleans(), min_size=1, max_size=4)
    writer, ends = st.integers(1, 2), st.sampled_from([ABORT, COMMIT])
    plain = st.builds(lambda kept: Batch(kept), kept)
    within = st.builds(lambda kept, writer: Batch(kept, writer, True), kept, writer)
    marker = st.builds(lambda writer, end: Batch([True], writer, True, end), writer, ends)
    log = draw(st.lists(plain | within | marker, min_size=1, max_size=8))
    return log, draw(st.integers(0, len(log[0].kept) - 1))


LIMITS = st.lists(st.none() | st.integers(1, 6), min_size=40, max_size=40)


@given(logs(), st.sampled_from([READ_COMMITTED, READ_UNCOMMITTED]), LIMITS)
def test_what_is_taken_and_where_it_ends_are_as_aiokafka_has_them(
    log: tuple[list[Batch], int], isolation: int, limits: list[int | None]
) -> None:
    theirs, their_place = fetched(*log, isolation)
    ours, our_place = fetched(*log, isolation)
    fetches = Fetches()
    fetches[TP_0] = ours
    for limit in limits:
        assert told(fetches[TP_0].getall(limit)) == told(theirs.getall(limit))
        if not theirs.has_more():
            break
        # Theirs looks behind the last record that it gives only when it is asked again.
        assert our_place.position >= their_place.position
    assert fetches[TP_0].getall() == []
    assert our_place.position == their_place.position
    assert not ours.has_more()


def test_what_lies_before_a_broken_batch_is_not_lost() -> None:
    ours, place = fetched([Batch([True] * 2), Batch([True]), Batch([True])], 0, READ_COMMITTED, 2)
    fetches = Fetches()
    fetches[TP_0] = ours
    with pytest.raises(CorruptRecordException):
        fetches[TP_0].getall()
    assert place.position == 0
    assert [row.offset for row in fetches[TP_0].getall()] == [0, 1, 2]
    assert place.position == 3
    assert not ours.has_more()


def test_a_seek_makes_what_was_fetched_worthless() -> None:
    ours, place = fetched([Batch([True] * 4)], 0, READ_COMMITTED)
    fetches = Fetches()
    fetches[TP_0] = ours
    assert [row.offset for row in fetches[TP_0].getall(2)] == [0, 1]
    place.position = 1
    assert fetches[TP_0].getall() == []
    assert not ours.has_more()


def test_a_fetch_that_failed_is_kept_as_it_is() -> None:
    failed = object()
    fetches = Fetches()
    fetches[TP_0] = failed
    assert fetches[TP_0] is failed
