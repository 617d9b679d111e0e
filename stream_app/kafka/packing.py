"""Records become record batches, none larger than the brokers take."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream_app.core.batch import PackedRecords
from stream_app.kafka.record_batches import (
    Columns,
    Header,
    KeyValue,
    attributes_of,
    compiled_form,
)
from stream_app.kafka.shell_config import BATCH_BYTES

OVERSIZED = "oversized"
"""Header of the stub that stands for a record that no broker would take: its size in bytes."""

FEW = 32
"""So few records are written faster one by one than in columns."""

_SLACK_BYTES = 1024
"""More than a record's headers and lengths add to its key and value."""


def checksum(key: bytes | None, value: bytes | None) -> int:
    """Of a record: what it is known by when it is met again."""
    return crc32(value or b"", crc32(key or b""))


class Packed(NamedTuple):
    """Record batches of one topic, in order, closed."""

    topic: str
    batches: list[Any]  # aiokafka's BatchBuilder
    records: int
    oversized: int  # records that a stub stands for
    checksum: int = 0  # of the last record


def pack(
    create_batch: Callable[[], Any],
    topic: str,
    records: Sequence[KeyValue] | PackedRecords,
    timestamp_ms: int,
    record_limit: int,
    headers: list[Header],
    batch_bytes: int = BATCH_BYTES,
) -> Packed:
    """Fill as many batches as it takes, of which ``create_batch`` makes them ``batch_bytes`` large.

    A record above ``record_limit`` bytes would be refused by the broker with all that travels with
    it, again and again. A stub takes its place, without a value, so that the record still counts.
    """
    if len(records) >= FEW:
        told = (records, timestamp_ms, record_limit, headers, batch_bytes)
        packed = _in_columns(create_batch, topic, *told)
        if packed is not None:
            return packed
    if isinstance(records, PackedRecords):
        records = [(key, value) for _, key, value in records]
    batches: list[Any] = []
    batch = None
    oversized = 0
    for key, value in records:
        own = headers
        if len(key or b"") + len(value or b"") + _SLACK_BYTES > record_limit:
            size = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers)
            if size > record_limit:
                oversized += 1
                own = [*headers, (OVERSIZED, str(size).encode())]
                key, value = (key or b"")[: record_limit // 2], None
        appended = batch and batch.append(timestamp=timestamp_ms, key=key, value=value, headers=own)
        if appended is not None:
            continue
        # The first record of a batch is taken whatever its size.
        batch = create_batch()
        batches.append(batch)
        batch.append(timestamp=timestamp_ms, key=key, value=value, headers=own)
    for batch in batches:
        batch.close()
    count = sum(batch.record_count() for batch in batches)
    last = checksum(key, value) if batches else 0
    return Packed(topic, batches, count, oversized, last)


def _in_columns(
    create_batch: Callable[[], Any],
    topic: str,
    records: Sequence[KeyValue] | PackedRecords,
    timestamp_ms: int,
    record_limit: int,
    headers: list[Header],
    batch_bytes: int,
) -> Packed | None:
    """None where this is not compiled, the topic is compressed, or a record may be too large."""
    form = compiled_form()
    attributes = None if form is None else attributes_of(create_batch())
    if form is None or attributes is None:
        return None
    columns = Columns.of(records)
    if columns.largest() + _SLACK_BYTES > record_limit:
        return None
    batches = form.batches(columns, headers, timestamp_ms, batch_bytes, attributes)
    return Packed(topic, batches, len(records), 0, checksum(*columns.last()))
