"""From a topic to a dump: what it holds at the start, in constant memory."""

from collections.abc import Callable
from typing import cast

from aiokafka import ConsumerRecord

from stream_app.kafka.connection import Connection
from stream_app.kafka.dump import DumpRecord, TimestampType
from stream_app.kafka.topic_reader import extents, partitions_of, read_partition, reader

TIMESTAMP_TYPES = {0: "create", 1: "log_append"}

Report = Callable[[int, int], None]
"""Told how many offsets are behind us, of how many."""


async def dump_topic(
    connection: Connection, topic: str, write: Callable[[DumpRecord], None], report: Report
) -> int:
    """Hand every committed record to ``write``, partition by partition in the order of offsets,
    up to the ends at the start. Returns their number.

    Raises:
        TopicMissing, TopicStalled, KafkaUnreachable: see `topic_reader` and `connection`.
    """
    written = passed = 0
    async with reader(connection) as consumer:
        held = await extents(consumer, await partitions_of(consumer, topic))
        total = sum(extent.end - extent.begin for extent in held.values())
        for partition, extent in held.items():
            async for chunk in read_partition(consumer, partition, extent):
                for record in chunk:
                    write(dump_record(record))
                written += len(chunk)
                if chunk:
                    report(passed + chunk[-1].offset + 1 - extent.begin, total)
            passed += extent.end - extent.begin
            report(passed, total)
    return written


def dump_record(record: ConsumerRecord) -> DumpRecord:
    """The consumer's record as a dump keeps it."""
    kind = TIMESTAMP_TYPES.get(record.timestamp_type, "none")
    return DumpRecord(
        record.partition,
        record.offset,
        record.timestamp,
        cast(TimestampType, kind),
        record.key,
        record.value,
        tuple(record.headers),
    )
