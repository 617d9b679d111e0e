"""Orders are written durably, and the newest partition records are found wherever they lie."""

import asyncio

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from stream_app.core.partition_record import PARTITION_KEY, PartitionRecord
from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.control_topic import RecordUnreadable, applied, reports, write_order
from stream_app.kafka.topic_reader import TopicMissing
from tests.kafka.test_topic_reader import new_topic, values_of

pytestmark = pytest.mark.kafka


def record(next_offset: int, as_of: int) -> bytes:
    made = PartitionRecord(
        model="a-1", fingerprint=b"", actions=(), next_offset=next_offset, as_of=as_of
    )
    return msgspec.msgpack.encode(made)


async def changes(connection: Connection, topic: str, partition: int, *values: bytes) -> None:
    """Partition records, each behind users' rows and in a transaction of its own."""
    producer = AIOKafkaProducer(**connection.client(), transactional_id=f"{topic}-{partition}")
    async with opened(producer, connection):
        for value in values:
            await producer.begin_transaction()
            for row in range(300):
                await producer.send(topic, b"row", key=b"u%d" % row, partition=partition)
            await producer.send_and_wait(topic, value, key=PARTITION_KEY, partition=partition)
            await producer.commit_transaction()


def test_the_newest_record_of_each_partition_is_found_and_followed(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        connection, topic = Connection((kafka,)), f"{topic_prefix}changelog"
        await new_topic(connection, topic, 2)
        async with reports(connection, topic) as found:
            assert (dict(found.newest), found.partitions) == ({}, 2)
            await changes(connection, topic, 0, record(10, 0), record(20, 1))
            assert not await applied(found, 0, 1.0)
            await changes(connection, topic, 1, record(5, 1))
            assert await applied(found, 0, 10.0)
        # Behind the newest record lie rows of a micro-batch that was aborted.
        producer = AIOKafkaProducer(**connection.client(), transactional_id=f"{topic}-x")
        async with opened(producer, connection):
            await producer.begin_transaction()
            for row in range(700):
                await producer.send(topic, b"row", key=b"u%d" % row, partition=0)
            await producer.abort_transaction()
        async with reports(connection, topic) as found:
            newest = {p: (r.next_offset, r.as_of) for p, r in found.newest.items()}
            assert newest == {0: (20, 1), 1: (5, 1)}
            assert await applied(found, 0, 0.0)
            assert not await applied(found, 1, 0.5)

    asyncio.run(scenario())


def test_an_order_lies_where_it_was_said(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        connection, topic = Connection((kafka,)), f"{topic_prefix}control"
        await new_topic(connection, topic, 1)
        assert await write_order(connection, topic, b"k", b"a") == 0
        assert await write_order(connection, topic, b"k", b"b") == 1
        assert (await values_of(connection, topic))[1] == [b"a", b"b"]

    asyncio.run(scenario())


def test_what_is_no_changelog_is_said(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        connection, topic = Connection((kafka,)), f"{topic_prefix}changelog"
        with pytest.raises(TopicMissing):
            async with reports(connection, topic):
                pass
        await new_topic(connection, topic, 1)
        await changes(connection, topic, 0, b"\xff")
        with pytest.raises(RecordUnreadable, match="cannot read"):
            async with reports(connection, topic) as found:
                # A commit is answered before its marker lies in the log.
                await applied(found, 0, 10.0)

    asyncio.run(scenario())
