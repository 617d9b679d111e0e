"""Read a topic as an outsider: no consumer group, committed records only."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.kafka.connection import Connection, opened

POLL_MS = 200
STALL_SECONDS = 60.0


class TopicMissing(ValueError):
    """The topic does not exist."""

    exit_code: ClassVar[int] = 2


class TopicStalled(RuntimeError):
    """Kafka has stopped giving records before the end."""

    exit_code: ClassVar[int] = 3


class Extent(NamedTuple):
    """Offsets of one partition, half open: the last one is the last *stable* offset, where a
    transaction that is still open begins.
    """

    begin: int
    end: int


@asynccontextmanager
async def reader(connection: Connection, wait_ms: int = 500) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer in no group, which sees committed records only.

    ``wait_ms`` is how long a broker may hold its answer where there is nothing new. Who jumps from
    place to place wants it short: at the end of a partition the next jump waits for that answer.
    """
    consumer = AIOKafkaConsumer(
        **connection.client(),
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=wait_ms,
    )
    async with opened(consumer, connection):
        yield consumer


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """The topic's partitions, in order.

    Raises:
        TopicMissing: there is none of that name.
    """
    # All topics: asking for one by name may create it.
    cluster = await consumer._client.fetch_all_metadata()
    partitions = cluster.partitions_for_topic(topic)
    if not partitions:
        names = sorted(name for name in cluster.topics() if not name.startswith("__"))
        raise TopicMissing(f"There is no topic {topic}. Kafka has: {', '.join(names) or 'none'}.")
    return [TopicPartition(topic, partition) for partition in sorted(partitions)]


async def extents(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, Extent]:
    """What each partition holds now."""
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    return {p: Extent(begins[p], ends[p]) for p in partitions}


async def extents_since(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], at_ms: int
) -> dict[TopicPartition, Extent]:
    """What each partition holds now, from its first record of that time (epoch ms) or later."""
    held = await extents(consumer, partitions)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, at_ms))
    first = {p: extent.end if found[p] is None else found[p].offset for p, extent in held.items()}
    return {p: Extent(min(max(first[p], e.begin), e.end), e.end) for p, e in held.items()}


async def record_at(
    consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int
) -> ConsumerRecord | None:
    """The committed record at an offset; None where the partition holds none there any more."""
    held = (await extents(consumer, [partition]))[partition]
    if not held.begin <= offset < held.end:
        return None
    async for chunk in read_partition(consumer, partition, Extent(offset, offset + 1)):
        if chunk:
            return chunk[0]
    return None


async def read_partition(
    consumer: AIOKafkaConsumer, partition: TopicPartition, extent: Extent
) -> AsyncIterator[list[ConsumerRecord]]:
    """The committed records of one partition in chunks, in order.

    Raises:
        TopicStalled: nothing came for a minute.
    """
    if extent.begin >= extent.end:
        return
    consumer.assign([partition])
    consumer.seek(partition, extent.begin)
    loop = asyncio.get_running_loop()
    position, moved_at = extent.begin, loop.time()
    while position < extent.end:
        chunk = (await consumer.getmany(partition, timeout_ms=POLL_MS)).get(partition, [])
        if chunk:
            yield [record for record in chunk if record.offset < extent.end]
        # Ends of transactions and aborted records move the position and give no record.
        before, position = position, await consumer.position(partition)
        if position > before:
            moved_at = loop.time()
        elif loop.time() - moved_at > STALL_SECONDS:
            raise TopicStalled(
                f"{partition.topic} partition {partition.partition} has given nothing for "
                f"{STALL_SECONDS:.0f} s at offset {position} of {extent.end}. See whether its "
                "leader is up."
            )
