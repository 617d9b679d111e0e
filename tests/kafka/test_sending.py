"""What a broker did not take comes again; what it took without saying so is there once."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    OutOfOrderSequenceNumber,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import TopicPartition

from stream_app.kafka.packing import Packed, pack
from stream_app.kafka.producers import let_go, take_over
from stream_app.kafka.sending import enrol, send
from tests.kafka.counting import config
from tests.kafka.ledger import make_topics, read, read_all

pytestmark = pytest.mark.kafka

Ask = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def owner(kafka: str, app_id: str) -> AsyncIterator[tuple[AIOKafkaProducer, list[str]]]:
    """A producer in a transaction, and topics that it may write to."""
    shell = config(kafka, app_id, partitions=1)
    await make_topics(kafka, app_id, partitions=1)
    producer = await take_over(shell, 0)
    try:
        await producer.begin_transaction()
        yield producer, [*shell.outputs.values()]
    finally:
        await let_go(producer)


def packed(producer: AIOKafkaProducer, topic: str, values: range, batches: int = 1) -> Packed:
    """Records of as many batches."""
    records = [(b"k", b"%09d" % value) for value in values]
    per_batch = -(-len(records) // batches)
    made = [
        pack(producer.create_batch, topic, records[at : at + per_batch], 1, 10**6, [])
        for at in range(0, len(records), per_batch)
    ]
    return made[0]._replace(batches=[batch for one in made for batch in one.batches])


def hindered(client: AIOKafkaClient, hinder: Callable[[Ask, int, Any], Awaitable[Any]]) -> None:
    """Produce requests go through ``hinder``, which is given the way on."""
    ask = client.send

    async def asked(node: int, request: Any, **where: Any) -> Any:
        if isinstance(request, ProduceRequest):
            return await hinder(ask, node, request)
        return await ask(node, request, **where)

    client.send = asked


async def values(kafka: str, topic: str) -> list[int]:
    async with asyncio.timeout(20):
        # A commit is acknowledged before its markers are in every partition.
        while not (rows := (await read_all(kafka, topic, 1))[0]):  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.02)
    return [int(row.value) for row in rows]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_way_loses_each_record_arrives_once_and_in_order(
    kafka: str, topic_prefix: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(seed)  # noqa: S311
    losses = [KafkaConnectionError, RequestTimedOutError, NotLeaderForPartitionError]

    async def lossy(ask: Ask, node: int, request: Any) -> Any:
        if (fate := chance.random()) < 0.3:
            raise chance.choice(losses)
        answer = await ask(node, request)
        if fate < 0.6:
            raise chance.choice(losses)
        return answer

    async def scenario() -> None:
        async with owner(kafka, topic_prefix + "a") as (producer, (one, other, *_)):
            hindered(producer.client, lossy)
            end = 0
            for at in range(0, 400, 100):
                few = packed(producer, one, range(at, at + 10), batches=3)
                many = packed(producer, other, range(at, at + 100), batches=2)
                end = await send(producer, [few, many], 0)
            await producer.commit_transaction()
            assert end == 400
            assert await values(kafka, other) == [*range(400)]
            assert await values(kafka, one) == [
                value for at in range(0, 400, 100) for value in range(at, at + 10)
            ]

    asyncio.run(scenario())
    assert "retrying" in caplog.text


def test_the_last_topics_end_counts_and_what_has_no_batches_has_none(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        async with owner(kafka, topic_prefix + "a") as (producer, (one, other, *_)):
            assert await send(producer, [], 0) == 0
            long = packed(producer, one, range(50), batches=5)
            short = packed(producer, other, range(3))
            assert await send(producer, [long, short], 0) == 3
            nothing = short._replace(batches=[])
            assert await send(producer, [long._replace(batches=[]), nothing], 0) == 0
            assert await send(producer, [packed(producer, one, range(2)), nothing], 0) == 0
            assert await send(producer, [packed(producer, one, range(2))], 0) == 54

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "error", [MessageSizeTooLargeError, OutOfOrderSequenceNumber, TopicAuthorizationFailedError]
)
def test_what_is_never_taken_is_told(kafka: str, topic_prefix: str, error: type[Exception]) -> None:
    async def refusing(ask: Ask, node: int, request: Any) -> Any:
        answer = await ask(node, request)
        ((topic, ((partition, _, *rest),)),) = answer.topics
        answer.topics = [(topic, [(partition, error.errno, *rest)])]
        return answer

    async def scenario() -> None:
        async with owner(kafka, topic_prefix + "a") as (producer, (topic, *_)):
            hindered(producer.client, refusing)
            with pytest.raises(error):
                await send(producer, [packed(producer, topic, range(3))], 0)

    asyncio.run(scenario())


def test_a_broker_that_takes_no_batches_of_that_size_says_so(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        async with owner(kafka, topic_prefix + "a") as (producer, (topic, *_)):
            batch = producer.create_batch()
            batch.append(timestamp=1, key=b"k", value=bytes(2_000_000))
            with pytest.raises(MessageSizeTooLargeError):
                await send(producer, [Packed(topic, [batch], 1, 0)], 0)

    asyncio.run(scenario())


def test_a_leader_that_nobody_knows_is_looked_for(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        async with owner(kafka, topic_prefix + "a") as (producer, (topic, *_)):
            await send(producer, [packed(producer, topic, range(3))], 0)
            cluster = producer.client.cluster
            places = cluster._partitions[topic]
            places[0] = places[0]._replace(leader=-1)
            assert cluster.leader_for_partition(TopicPartition(topic, 0)) == -1
            assert await send(producer, [packed(producer, topic, range(3, 5))], 0) == 5
            await producer.commit_transaction()
            assert await values(kafka, topic) == [*range(5)]

    asyncio.run(scenario())


def test_a_transaction_that_has_failed_takes_no_partition(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        async with owner(kafka, topic_prefix + "a") as (producer, (topic, *_)):
            producer._txn_manager.error_transaction(TopicAuthorizationFailedError(topic))
            with pytest.raises(AssertionError):
                await enrol(producer, [TopicPartition(topic, 0)])
        async with owner(kafka, topic_prefix + "b") as (producer, (topic, *_)):

            async def refused(*_: Any) -> bool:
                producer._txn_manager.error_transaction(TopicAuthorizationFailedError(topic))
                return True

            producer._sender._do_add_partitions_to_txn = refused
            with pytest.raises(TopicAuthorizationFailedError):
                await send(producer, [packed(producer, topic, range(3))], 0)
            assert (await read(kafka, topic, 1, "read_uncommitted"))[0] == []

    asyncio.run(scenario())
