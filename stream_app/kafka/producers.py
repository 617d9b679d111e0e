"""Producers of a source partition: a transactional one, and a plain one under its epoch."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any

import aiokafka.producer.sender
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaConnectionError,
    NodeNotReadyError,
    ProducerFenced,
)

from stream_app.kafka.answers import Answers
from stream_app.kafka.produce_requests import send_in_parts
from stream_app.kafka.sending import enrol
from stream_app.kafka.shell_config import BATCH_BYTES, ShellConfig
from stream_app.kafka.unfinished import open_logs, was_committed

log = logging.getLogger(__name__)

TRANSACTION_BACKOFF_SECONDS = 0.002
"""How long aiokafka waits while the broker still writes the previous transaction's markers. Its
own 20 ms puts that much on every other micro-batch under load."""

STOP_SECONDS = 3.0

FENCED = (ProducerFenced, InvalidProducerEpoch, InvalidProducerIdMapping)
"""Another producer has this transactional id now, or the broker gave up on this one."""


def _plain(config: ShellConfig) -> AIOKafkaProducer:
    """An idempotent producer: acknowledged by all in-sync replicas, retried without duplicates."""
    producer = AIOKafkaProducer(
        **config.client,
        client_id=f"{config.app_id}-producer",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        compression_type=config.compression,
    )
    send_in_parts(producer.client)
    return producer


async def take_over(config: ShellConfig, partition: int) -> AIOKafkaProducer:
    """The one producer that may write for a source partition.

    On return every transaction that an earlier owner left open is aborted, every one that it had
    decided to commit is complete, and it can write no more: what is read afterwards is final.

    Raises:
        FenceTimeout: no broker answered for too long, or none let go of the old transaction.
    """
    aiokafka.producer.sender.BACKOFF_OVERRIDE = TRANSACTION_BACKOFF_SECONDS
    producer = AIOKafkaProducer(
        **config.client,
        client_id=f"{config.app_id}-{partition}",
        transactional_id=config.transactional_id(partition),
        transaction_timeout_ms=config.transaction_timeout_ms,
        max_batch_size=BATCH_BYTES,
        compression_type=config.compression,
        # Also the pause between two tries to take over while the old transaction is being aborted.
        retry_backoff_ms=20,
    )
    _ask_again_for_coordinators(producer)
    send_in_parts(producer.client)
    try:
        await Answers(producer.client).during(producer.start(), config.transactional_id(partition))
    except BaseException:
        await let_go(producer)
        raise
    return producer


def _ask_again_for_coordinators(producer: AIOKafkaProducer) -> None:
    """Where a connection closes between the question for a coordinator and its answer, as it does
    when a broker ends, aiokafka's producer is done for. It asks again where a broker is not ready.
    """
    client = producer.client
    look_up = client.coordinator_lookup

    async def asked(kind: Any, key: str) -> Any:
        try:
            return await look_up(kind, key)
        except KafkaConnectionError as error:
            raise NodeNotReadyError(str(error)) from error

    client.coordinator_lookup = asked


async def take_over_with_markers(
    config: ShellConfig, partition: int, logs: Sequence[TopicPartition]
) -> AIOKafkaProducer:
    """As `take_over`, and ``logs`` are shown the new epoch before anything is read of them: by the
    marker of an empty transaction, for which the id is taken over twice.

    The marker also ends what stands open there though the coordinator has done with it: see
    `unfinished`. Left open, it would become visible with the next commit, beside its repetition.
    """
    first = await take_over(config, partition)
    try:
        name = config.transactional_id(partition)
        await Answers(first.client).during(_mark(config, first, logs), name)
        # On return the markers are written.
        return await take_over(config, partition)
    finally:
        await let_go(first)


async def _mark(
    config: ShellConfig, producer: AIOKafkaProducer, logs: Sequence[TopicPartition]
) -> None:
    still_open = await open_logs(producer.client, logs)
    commits = bool(still_open) and await was_committed(config.client, logs, still_open)
    await producer.begin_transaction()
    await enrol(producer, logs)
    if still_open:
        log.warning(
            "Kafka called a transaction complete that stands open in %s; it ends as %s, as the"
            " rest of it.",
            ", ".join(f"{tp.topic}-{tp.partition}" for tp in still_open),
            "committed" if commits else "aborted",
        )
    if commits:
        await producer.commit_transaction()


async def take_over_log(
    config: ShellConfig, partition: int, log_of: TopicPartition
) -> tuple[AIOKafkaProducer, AIOKafkaProducer]:
    """As `take_over`, for an owner that also writes without transactions: its state to ``log_of``.

    A broker lets in what carries the newest epoch of a producer that it has seen in that log. So
    the log is shown a new epoch before anything is read: by the marker that aborts an empty
    transaction, for which this partition's id is taken over twice. The second producer of the pair
    is not transactional and writes under the epoch of the first.
    """
    transactional = await take_over_with_markers(config, partition, [log_of])
    plain = _plain(config)
    theirs, ours = transactional._txn_manager, plain._txn_manager
    ours.set_pid_and_epoch(theirs.producer_id, theirs.producer_epoch)
    ours._sequence_numbers = theirs._sequence_numbers
    try:
        await plain.start()
    except BaseException:
        await asyncio.gather(let_go(plain), let_go(transactional))
        raise
    return transactional, plain


async def let_go(producer: AIOKafkaProducer) -> None:
    """Stop a producer, whatever has become of it and of Kafka. What it has open is aborted by the
    next owner.
    """
    try:
        await asyncio.wait_for(producer.stop(), STOP_SECONDS)
    except TimeoutError:
        log.warning("A producer did not stop in time; its partition's next owner fences it.")
        await producer.client.close()
    manager, accumulator = producer._txn_manager, producer._message_accumulator
    batches = {*accumulator._pending_batches, *chain(*accumulator._batches.values())}
    futures = [future for batch in batches for future in (batch.future, batch._drain_waiter)]
    futures.append(None if manager is None else manager.wait_for_transaction_end())
    for future in futures:
        # A fenced producer's error is in all of them; unread, it would be reported at some time.
        if future is not None and future.done() and not future.cancelled():
            future.exception()


def is_fenced(error: BaseException | None) -> bool:
    """Whether the error says that somebody else owns the partition now."""
    while error is not None and not isinstance(error, FENCED):
        # aiokafka's sender wraps what ends it.
        error = error.__cause__
    return error is not None
