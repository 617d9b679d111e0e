"""From the end every record comes once, the newest of a partition before the others."""

import asyncio
from contextlib import aclosing

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.kafka import newest_first as module
from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.newest_first import newest_first
from stream_app.kafka.topic_admin import create_missing
from stream_app.kafka.topic_reader import Extent, extents, partitions_of, reader
from stream_app.kafka.topics import TopicSpec

pytestmark = pytest.mark.kafka


def test_every_record_comes_once_and_the_newest_first(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_BLOCK", 4)

    async def scenario() -> None:
        connection, topic = Connection((kafka,)), f"{topic_prefix}topic"
        async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
            await create_missing(admin, [TopicSpec("", topic, 3, {})], 1)
        producer = AIOKafkaProducer(**connection.client(), transactional_id=topic)
        async with opened(producer, connection):
            for number in range(30):
                async with producer.transaction():
                    await producer.send_and_wait(topic, b"%d" % number, partition=number % 2)
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"never", partition=0)
            await producer.abort_transaction()
        async with reader(connection) as consumer:
            held = await extents(consumer, await partitions_of(consumer, topic))
            assert held[TopicPartition(topic, 2)] == Extent(0, 0)
            said: list[tuple[int, int]] = []
            blocks = [b async for b in newest_first(consumer, held, lambda *p: said.append(p))]
            found = [(record.partition, int(record.value)) for block in blocks for record in block]
            for partition in (0, 1):
                own = [number for place, number in found if place == partition]
                assert own == [n for n in range(29, -1, -1) if n % 2 == partition]
            assert said[-1][0] == said[-1][1]
            # Whoever has found what it looked for need not read on.
            async with aclosing(newest_first(consumer, held)) as first:
                block = await anext(aiter(first))
            assert [record.value for record in block] == [b"28"]

    asyncio.run(scenario())
