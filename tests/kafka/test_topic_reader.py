"""An outsider sees what is committed, all of it and nothing else."""

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.topic_admin import create_missing
from stream_app.kafka.topic_reader import (
    Extent,
    TopicMissing,
    extents,
    partitions_of,
    read_partition,
    reader,
)
from stream_app.kafka.topics import TopicSpec
from tests.kafka.ledger import settled

pytestmark = pytest.mark.kafka


async def new_topic(connection: Connection, name: str, partitions: int) -> None:
    async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
        await create_missing(admin, [TopicSpec("", name, partitions, {})], 1)


async def transact(
    connection: Connection, topic: str, values: Sequence[bytes], commit: bool
) -> None:
    producer = AIOKafkaProducer(**connection.client(), transactional_id=f"{topic}-{values[0]!r}")
    async with opened(producer, connection):
        await producer.begin_transaction()
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)
        await (producer.commit_transaction() if commit else producer.abort_transaction())


async def values_of(connection: Connection, topic: str) -> tuple[Extent, list[bytes | None]]:
    async with reader(connection) as consumer:
        held = await extents(consumer, await partitions_of(consumer, topic))
        extent = held[TopicPartition(topic, 0)]
        chunks = read_partition(consumer, TopicPartition(topic, 0), extent)
        return extent, [record.value async for chunk in chunks for record in chunk]


def test_only_committed_records_are_seen_and_markers_do_not_hang(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        connection, topic = Connection((kafka,)), f"{topic_prefix}topic"
        await new_topic(connection, topic, 1)
        assert await values_of(connection, topic) == (Extent(0, 0), [])
        await transact(connection, topic, [b"a", b"b"], commit=True)
        await transact(connection, topic, [b"never", b"never"], commit=False)
        await transact(connection, topic, [b"c"], commit=True)
        await transact(connection, topic, [b"no"], commit=False)
        await settled(kafka, topic, 1)
        # Four markers, three aborted records: nothing comes after c, and the end is reached.
        assert await values_of(connection, topic) == (Extent(0, 10), [b"a", b"b", b"c"])

    asyncio.run(scenario())


def test_an_open_transaction_is_the_end(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        connection, topic = Connection((kafka,)), f"{topic_prefix}topic"
        await new_topic(connection, topic, 1)
        await transact(connection, topic, [b"a"], commit=True)
        await settled(kafka, topic, 1)
        producer = AIOKafkaProducer(**connection.client(), transactional_id=f"{topic}-open")
        async with opened(producer, connection):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"b", partition=0)
            await transact(connection, topic, [b"c"], commit=True)
            assert await values_of(connection, topic) == (Extent(0, 2), [b"a"])
            await producer.commit_transaction()
        await settled(kafka, topic, 1)
        assert (await values_of(connection, topic))[1] == [b"a", b"b", b"c"]

    asyncio.run(scenario())


def test_records_behind_the_end_at_the_start_are_left_out(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        connection, topic = Connection((kafka,)), f"{topic_prefix}topic"
        await new_topic(connection, topic, 1)
        await transact(connection, topic, [b"a", b"b", b"c"], commit=True)
        await settled(kafka, topic, 1)
        async with reader(connection) as consumer:
            chunks = read_partition(consumer, TopicPartition(topic, 0), Extent(1, 2))
            assert [record.value async for chunk in chunks for record in chunk] == [b"b"]

    asyncio.run(scenario())


def test_a_topic_that_is_not_there_is_said_and_not_made(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        connection = Connection((kafka,))
        await new_topic(connection, f"{topic_prefix}there", 2)
        async with reader(connection) as consumer:
            there = await partitions_of(consumer, f"{topic_prefix}there")
            assert there == [TopicPartition(f"{topic_prefix}there", p) for p in (0, 1)]
            for _ in range(2):
                with pytest.raises(TopicMissing, match=rf"Kafka has: .*{topic_prefix}there"):
                    await partitions_of(consumer, f"{topic_prefix}absent")

    asyncio.run(scenario())
