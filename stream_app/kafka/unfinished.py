"""What became of a transaction that has left some of its logs without a marker.

A broker that comes back from a crash may call a transaction complete though not every log has its
marker. What stands open there must end as the rest of the transaction did: aborted where nothing of
it is visible, for its owner's successor repeats it; committed where some of it is, since nobody
will.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.offset import OffsetRequest

from stream_app.kafka.topic_reader import Extent, extents, extents_since, read_partition

log = logging.getLogger(__name__)

UNCOMMITTED, COMMITTED = 0, 1
AGAIN_SECONDS = 0.05
LOOK_RECORDS = 64
"""How far from its end a log is first searched for its newest record; then eight times as far."""

MOMENT_RECORDS = 10_000
"""So many records are looked at behind the first one that is no older than those that stand open;
where clocks disagree, others may lie before theirs."""

T = TypeVar("T")


async def open_logs(client: AIOKafkaClient, logs: Sequence[TopicPartition]) -> list[TopicPartition]:
    """Those in which a transaction stands open. Asks again until every leader has answered."""
    ends = await _ends(client, logs, UNCOMMITTED)
    stable = await _ends(client, logs, COMMITTED)
    return [tp for tp in logs if stable[tp] < ends[tp]]


async def was_committed(
    arguments: Mapping[str, Any],
    logs: Sequence[TopicPartition],
    still_open: Collection[TopicPartition],
) -> bool:
    """Whether what stands open belongs to a transaction that has ended as committed elsewhere in
    ``logs``, however long ago: its owner does not notice what a log has missed, and goes on. All
    records of a transaction have the same time, and a partition's next one has a later one; in a
    log that brokers give times of their own nothing can be told.
    """
    times = set[int]()
    for tp in still_open:
        times |= await _asked(arguments, "read_uncommitted", tp, _newest_ms, set[int]())
    # Of several times some are those of a zombie, which nobody is to see.
    if len(times) != 1:
        return False
    is_visible = partial(_is_visible, at_ms=times.pop())
    for tp in logs:
        if tp not in still_open and await _asked(
            arguments, "read_committed", tp, is_visible, False
        ):
            return True
    return False


async def _ends(
    client: AIOKafkaClient, logs: Sequence[TopicPartition], isolation: int
) -> dict[TopicPartition, int]:
    found: dict[TopicPartition, int] = {}
    while missing := [tp for tp in logs if tp not in found]:
        try:
            for tp in missing:
                await client._wait_on_metadata(tp.topic)
            for node in {client.cluster.leader_for_partition(tp) for tp in missing}:
                mine = [tp for tp in missing if client.cluster.leader_for_partition(tp) == node]
                found |= await _ends_of(client, node, mine, isolation)
        except KafkaError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(AGAIN_SECONDS)
            await client.force_metadata_update()
    return found


async def _ends_of(
    client: AIOKafkaClient, node: int | None, logs: Sequence[TopicPartition], isolation: int
) -> dict[TopicPartition, int]:
    if node is None or node < 0:
        raise LeaderNotAvailableError
    asked = [(tp.topic, [(tp.partition, -1)]) for tp in logs]
    answer = await client.send(node, OffsetRequest(-1, isolation, asked))
    found = {}
    for topic, partitions in answer.topics:
        for partition, code, _, offset in partitions:
            if code:
                raise for_code(code)
            found[TopicPartition(topic, partition)] = offset
    return found


async def _asked(
    arguments: Mapping[str, Any],
    isolation: str,
    tp: TopicPartition,
    question: Callable[[AIOKafkaConsumer, TopicPartition], Awaitable[T]],
    unknown: T,
) -> T:
    """What a reader of a log answers; ``unknown`` for a log that this worker may not read."""
    consumer = AIOKafkaConsumer(
        **arguments, group_id=None, isolation_level=isolation, enable_auto_commit=False
    )
    await consumer.start()
    try:
        return await question(consumer, tp)
    except TopicAuthorizationFailedError:
        log.warning("%s cannot be read; what became of its newest records stays unknown.", tp.topic)
        return unknown
    finally:
        await consumer.stop()


async def _newest_ms(consumer: AIOKafkaConsumer, tp: TopicPartition) -> set[int]:
    """Time (epoch ms) of the newest record, markers left out; none of a log without records."""
    begin, end = (await extents(consumer, [tp]))[tp]
    look, found = LOOK_RECORDS, set[int]()
    while begin < end and not found:
        stretch = Extent(max(begin, end - look), end)
        async for chunk in read_partition(consumer, tp, stretch):
            found = {row.timestamp for row in chunk[-1:]} or found
        if stretch.begin == begin:
            break
        look *= 8
    return found


async def _is_visible(consumer: AIOKafkaConsumer, tp: TopicPartition, at_ms: int) -> bool:
    """Whether a record of that time (epoch ms) is among those that the consumer sees."""
    begin, end = (await extents_since(consumer, [tp], at_ms))[tp]
    stretch = Extent(begin, min(end, begin + MOMENT_RECORDS))
    async for chunk in read_partition(consumer, tp, stretch):
        if any(row.timestamp == at_ms for row in chunk):
            return True
    return False
