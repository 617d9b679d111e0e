"""What became of a transaction that has left some of its logs without a marker.

A broker that comes back from a crash may call a transaction complete though not every log has its
marker. What stands open there must end as the rest of the transaction did: aborted where nothing of
it is visible, for its owner's successor repeats it; committed where some of it is, since nobody
will.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.offset import OffsetRequest

from stream_app.kafka.topic_reader import Extent, extents, read_partition

log = logging.getLogger(__name__)

UNCOMMITTED, COMMITTED = 0, 1
AGAIN_SECONDS = 0.05
LOOK_RECORDS = 64
"""How far from its end a log is first searched for its newest record; then eight times as far."""


class Tail(NamedTuple):
    """The newest record of a log, markers left out."""

    at_ms: int
    is_visible: bool  # to who reads committed records
    is_open: bool  # neither committed nor aborted


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
    ``logs``. Its records all have the same time; in a log that brokers give times of their own
    nothing can be told.
    """
    tails = [await _tail(arguments, tp, tp in still_open) for tp in logs]
    known = [tail for tail in tails if tail is not None]
    times = {tail.at_ms for tail in known if tail.is_open}
    # Of several times some are those of a zombie, which nobody is to see.
    return len(times) == 1 and any(tail.is_visible and tail.at_ms in times for tail in known)


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


async def _tail(arguments: Mapping[str, Any], tp: TopicPartition, is_open: bool) -> Tail | None:
    """None for a log without records, or one that this worker may not read."""
    try:
        newest = await _newest(arguments, tp, "read_uncommitted")
        if newest is None or is_open:
            return None if newest is None else Tail(newest[1], False, True)
        return Tail(newest[1], newest == await _newest(arguments, tp, "read_committed"), False)
    except TopicAuthorizationFailedError:
        log.warning("%s cannot be read; what became of its newest records stays unknown.", tp.topic)
        return None


async def _newest(
    arguments: Mapping[str, Any], tp: TopicPartition, isolation: str
) -> tuple[int, int] | None:
    """Offset and time (epoch ms) of the newest record."""
    consumer = AIOKafkaConsumer(
        **arguments, group_id=None, isolation_level=isolation, enable_auto_commit=False
    )
    await consumer.start()
    try:
        begin, end = (await extents(consumer, [tp]))[tp]
        look, found = LOOK_RECORDS, None
        while begin < end and found is None:
            stretch = Extent(max(begin, end - look), end)
            async for chunk in read_partition(consumer, tp, stretch):
                for row in chunk:
                    found = row.offset, row.timestamp
            if stretch.begin == begin:
                break
            look *= 8
        return found
    finally:
        await consumer.stop()
