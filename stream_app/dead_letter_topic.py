"""Read the topic of dead letters: all of it in flat memory, or what somebody wants of it."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.dead_letters import Letter, Wanted, decode_letter
from stream_app.kafka.connection import Connection
from stream_app.kafka.topic_reader import (
    Extent,
    extents,
    extents_since,
    partitions_of,
    read_partition,
    reader,
)
from stream_app.progress import Report


class Selection(NamedTuple):
    """The dead letters of one moment: what was wanted of them, and what there is of it."""

    wanted: Wanted
    held: dict[TopicPartition, Extent]  # of the topic of dead letters
    reasons: Counter[str]
    elsewhere: int  # wanted, but of records of another input topic or of no partition of it
    oldest: Mapping[int, int]  # partition to the smallest offset of its input records

    @property
    def records(self) -> int:
        return self.reasons.total()


async def letters(
    consumer: AIOKafkaConsumer,
    held: Mapping[TopicPartition, Extent],
    progress: Callable[[int, int], None],
) -> AsyncIterator[tuple[ConsumerRecord, Letter]]:
    """Dead letters with their records, partition after partition, oldest first."""
    passed, total = 0, sum(extent.end - extent.begin for extent in held.values())
    for partition, extent in held.items():
        async for chunk in read_partition(consumer, partition, extent):
            for record in chunk:
                # A stub for a record that no broker took has no value.
                if record.value is not None:
                    yield record, decode_letter(record.value)
            if chunk:
                progress(passed + chunk[-1].offset + 1 - extent.begin, total)
        passed += extent.end - extent.begin
    progress(passed, total)


async def held_letters(
    consumer: AIOKafkaConsumer, topic: str, wanted: Wanted, since_ms: int
) -> dict[TopicPartition, Extent]:
    """Where the wanted dead letters lie. Raises TopicMissing."""
    partitions = [
        partition
        for partition in await partitions_of(consumer, topic)
        if not wanted.partitions or partition.partition in wanted.partitions
    ]
    if since_ms <= 0:
        return await extents(consumer, partitions)
    return await extents_since(consumer, partitions, since_ms)


async def select(
    connection: Connection,
    rejected: str,
    events: str,
    wanted: Wanted,
    since_ms: int,
    report: Report,
) -> Selection:
    """Look through the dead letters; sends nothing. Raises TopicMissing, TopicStalled."""
    reasons: Counter[str] = Counter()
    oldest: dict[int, int] = {}
    elsewhere = 0
    async with reader(connection) as consumer:
        there = {partition.partition for partition in await partitions_of(consumer, events)}
        held = await held_letters(consumer, rejected, wanted, since_ms)
        found = letters(consumer, held, lambda done, total: report("looking", done, total))
        async for _, letter in found:
            if not wanted.has(letter):
                continue
            if letter.topic != events or letter.partition not in there:
                elsewhere += 1
                continue
            reasons[letter.reason] += 1
            oldest[letter.partition] = min(
                letter.offset, oldest.get(letter.partition, letter.offset)
            )
    return Selection(wanted, held, reasons, elsewhere, oldest)
