"""Side inputs: small topics of one partition that every worker reads whole, in no consumer group.

Faust's global tables recover through the group and may never end (their own documentation warns of
it). Here a plain consumer reads up to the end that each topic had at the start, and then follows.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.kafka.connection import Connection
from stream_app.kafka.topic_reader import (
    POLL_MS,
    STALL_SECONDS,
    TopicStalled,
    extents,
    partitions_of,
    reader,
)

log = logging.getLogger(__name__)

MAX_CHUNK_RECORDS = 500
"""Taken at once; between two chunks the event loop serves others."""


class SideRecord(NamedTuple):
    """A committed record of a side input; without a value it is a tombstone."""

    offset: int
    key: bytes | None
    value: bytes | None


Take = Callable[[str, Sequence[SideRecord]], None]
"""Role of the topic, and what came of it: each record once, in order. It has to bear any bytes."""


@asynccontextmanager
async def following(
    connection: Connection,
    topics: Mapping[str, str],
    take: Take,
    fail: Callable[[BaseException], None],
) -> AsyncIterator[None]:
    """Hand every committed record of these topics (role to name) to ``take``.

    Entered once all that they held at the beginning is taken. Behind that, ``fail`` is called when
    nothing can be read any more; a Kafka that is away for a while only delays.

    Raises:
        TopicMissing: a topic does not exist.
        TopicStalled: a topic gave nothing for a minute, before its end.
        KafkaUnreachable: nobody answers.
    """
    async with reader(connection) as consumer:
        roles = {}
        for role, name in topics.items():
            (place, *_) = await partitions_of(consumer, name)
            roles[place] = role
        await _read_whole(consumer, roles, take)
        task = asyncio.create_task(_follow(consumer, roles, take))
        task.add_done_callback(lambda done: _report(done, fail))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _read_whole(
    consumer: AIOKafkaConsumer, roles: Mapping[TopicPartition, str], take: Take
) -> None:
    consumer.assign(list(roles))
    whole = await extents(consumer, list(roles))
    for place, extent in whole.items():
        consumer.seek(place, extent.begin)
    loop = asyncio.get_running_loop()
    moved_at, positions = loop.time(), {place: extent.begin for place, extent in whole.items()}
    while any(positions[place] < extent.end for place, extent in whole.items()):
        await _take_chunk(consumer, roles, take)
        # Ends of transactions and aborted records move the position and give no record.
        before, positions = positions, {place: await consumer.position(place) for place in roles}
        if positions != before:
            moved_at = loop.time()
        elif loop.time() - moved_at > STALL_SECONDS:
            behind = [p.topic for p, extent in whole.items() if positions[p] < extent.end]
            raise TopicStalled(
                f"{', '.join(behind)} has given nothing for {STALL_SECONDS:.0f} s, and a worker"
                " starts only when it has read it whole. See whether its leader is up."
            )


async def _follow(
    consumer: AIOKafkaConsumer, roles: Mapping[TopicPartition, str], take: Take
) -> None:
    while True:
        await _take_chunk(consumer, roles, take)


async def _take_chunk(
    consumer: AIOKafkaConsumer, roles: Mapping[TopicPartition, str], take: Take
) -> None:
    chunks = await consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_CHUNK_RECORDS)
    for place, rows in chunks.items():
        take(roles[place], [SideRecord(row.offset, row.key, row.value) for row in rows])
    # getmany returns without a pause while records wait in its buffer.
    await asyncio.sleep(0)


def _report(done: asyncio.Task[None], fail: Callable[[BaseException], None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.critical("Side inputs cannot be read any more: %s", error)
        fail(error)
