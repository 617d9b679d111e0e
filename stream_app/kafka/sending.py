"""Record batches go to their leaders without aiokafka's queue.

Its producer lays each batch into an accumulator, whose background task finds it, makes a task of
the request, and wakes whoever waits: more work than the request itself where micro-batches are
small. Here who has batches sends them. What makes repetition safe is as aiokafka and Kafka have it:
producer id, epoch and sequence number (KIP-98), one request under way to a partition, and the same
bytes again until a broker takes them or says that it never will.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    DuplicateSequenceNumber,
    InvalidProducerEpoch,
    KafkaError,
    NoError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.produce import ProduceRequest

from stream_app.kafka.packing import Packed

log = logging.getLogger(__name__)

ENROL_SECONDS = 0.001
"""Between two looks at whether the coordinator has taken a transaction's partitions in."""

Buffers = Mapping[TopicPartition, Any]


async def send(producer: AIOKafkaProducer, packed: Sequence[Packed], partition: int) -> int:
    """Send topics side by side, the batches of one topic in order; returns the offset behind the
    last topic's last record, 0 where it has none.

    Retries what may be retried for ever. Raises what a broker says of a batch that it will never
    take; ProducerFenced where another producer has this one's id.
    """
    end = 0
    await enrol(producer, {TopicPartition(p.topic, partition) for p in packed if p.batches})
    for number in range(max((len(topic.batches) for topic in packed), default=0)):
        due = [topic for topic in packed if number < len(topic.batches)]
        batches = {TopicPartition(p.topic, partition): p.batches[number] for p in due}
        offsets = await _deliver(producer, _sealed(producer._txn_manager, batches))
        if due[-1] is packed[-1]:
            end = offsets[TopicPartition(due[-1].topic, partition)]
            end += due[-1].batches[number].record_count()
    return end


async def enrol(producer: AIOKafkaProducer, tps: Collection[TopicPartition]) -> None:
    """On return the open transaction has these partitions in it; without one there is nothing to
    do. Raises what ended the transaction."""
    manager = producer._txn_manager
    if manager.transactional_id is None:
        return
    for tp in tps:
        manager.maybe_add_partition_to_txn(tp)
    while manager.partitions_to_add():
        if producer._sender.sender_task.done():
            await producer._sender.sender_task
        await asyncio.sleep(ENROL_SECONDS)
    if not manager.is_in_transaction():
        await manager.wait_for_transaction_end()


def _sealed(manager: Any, batches: Mapping[TopicPartition, Any]) -> Buffers:
    """The batches' bytes, numbered on behind what the producer sent before."""
    sealed = {}
    for tp, batch in batches.items():
        number = manager.sequence_number(tp)
        batch._set_producer_state(manager.producer_id, manager.producer_epoch, number)
        manager.increment_sequence_number(tp, batch.record_count())
        sealed[tp] = batch._build()
    return sealed


async def _deliver(producer: AIOKafkaProducer, buffers: Buffers) -> dict[TopicPartition, int]:
    """Until each has its place in its log: base offsets."""
    offsets: dict[TopicPartition, int] = {}
    while left := {tp: buffer for tp, buffer in buffers.items() if tp not in offsets}:
        nodes = await _by_leader(producer.client, left)
        if len(nodes) == 1:
            # One alone is awaited at once: what gathers costs a round of the loop.
            found = [await _ask(producer, *next(iter(nodes.items())))]
        else:
            found = await asyncio.gather(*(_ask(producer, *asked) for asked in nodes.items()))
        for answer in found:
            offsets |= answer
        if len(offsets) < len(buffers):
            await asyncio.sleep(producer._sender._retry_backoff)
            await producer.client._maybe_wait_metadata()
    return offsets


async def _by_leader(client: Any, buffers: Buffers) -> dict[int, dict[TopicPartition, Any]]:
    """Where each buffer has to go; those whose leader nobody knows yet are left out."""
    nodes: dict[int, dict[TopicPartition, Any]] = defaultdict(dict)
    for tp, buffer in buffers.items():
        leader = client.cluster.leader_for_partition(tp)
        if leader is None:
            await client._wait_on_metadata(tp.topic)
            leader = client.cluster.leader_for_partition(tp)
        if leader is None or leader == -1:
            client.force_metadata_update()
        else:
            nodes[leader][tp] = buffer
    return nodes


async def _ask(
    producer: AIOKafkaProducer, node: int, buffers: Buffers
) -> dict[TopicPartition, int]:
    """Base offsets of what the broker took; what it may take another time is left out."""
    topics = defaultdict(list)
    for tp, buffer in buffers.items():
        topics[tp.topic].append((tp.partition, buffer))
    request = ProduceRequest(
        transactional_id=producer._txn_manager.transactional_id,
        required_acks=-1,
        timeout=producer._request_timeout_ms,
        topics=list(topics.items()),
    )
    try:
        answer = await producer.client.send(node, request)
    except KafkaError as error:
        if not error.retriable:
            raise
        _retry(producer.client, error, f"broker {node}")
        return {}
    offsets = {}
    for topic, partitions in answer.topics:
        for partition, code, offset, *_ in partitions:
            if _is_taken(producer.client, topic, partition, for_code(code)):
                offsets[TopicPartition(topic, partition)] = offset
    return offsets


def _is_taken(client: Any, topic: str, partition: int, error: type[KafkaError]) -> bool:
    # A duplicate lies in the log since an attempt whose answer was lost.
    if error in (NoError, DuplicateSequenceNumber):
        return True
    if error is InvalidProducerEpoch:
        raise ProducerFenced
    if error is TopicAuthorizationFailedError:
        raise error(topic)
    if not error.retriable:
        raise error
    _retry(client, error, f"{topic}-{partition}")
    return False


def _retry(client: Any, error: KafkaError | type[KafkaError], asked: str) -> None:
    log.warning("%s does not take record batches yet, retrying: %r", asked, error)
    if getattr(error, "invalid_metadata", False):
        client.force_metadata_update()
