"""Only partitions where nothing happens get a heartbeat, and the core takes it for one."""

import asyncio
from collections.abc import Mapping

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.core.clean import Heartbeat, reader
from stream_app.core.config import CoreConfig
from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.dump import DumpRecord
from stream_app.kafka.dump_topic import dump_topic
from stream_app.kafka.heartbeat import Encoding, beat, heartbeat_value
from stream_app.kafka.topic_admin import create_missing
from stream_app.kafka.topics import TopicSpec

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("fields", [{}, {"event_type": "what", "timestamp": "at"}])
def test_the_core_takes_it_for_a_heartbeat(encoding: Encoding, fields: Mapping[str, str]) -> None:
    read = reader(CoreConfig(pseudonym_key=b"0" * 16, fields=dict(fields)))
    assert read(None, heartbeat_value(NOW_MS, fields, encoding), NOW_MS) == Heartbeat(NOW_MS)


@pytest.mark.kafka
def test_only_idle_partitions_get_one(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        connection, topic = Connection((kafka,)), f"{topic_prefix}events"
        async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
            await create_missing(admin, [TopicSpec("", topic, 4, {})], 1)
        async with opened(AIOKafkaProducer(**connection.client()), connection) as producer:
            # Partition 0 has an old record, 1 a new one, 2 both, 3 none.
            for partition, age_ms in ((0, 60_001), (1, 59_999), (2, 90_000), (2, 10)):
                await producer.send_and_wait(
                    topic, b"click", partition=partition, timestamp_ms=NOW_MS - age_ms
                )
        rounds: list[list[int]] = []

        async def beat_once(now_ms: int) -> None:
            await beat(
                connection,
                topic,
                60_000,
                lambda at_ms: heartbeat_value(at_ms, {}, "json"),
                lambda: now_ms,
                report=rounds.append,
            )

        await beat_once(NOW_MS)
        found: list[DumpRecord] = []
        await dump_topic(connection, topic, found.append, lambda done, total: None)
        beats = [record for record in found if record.value != b"click"]
        assert [record.partition for record in beats] == [0, 3]
        assert {record.value for record in beats} == {heartbeat_value(NOW_MS, {}, "json")}
        assert rounds == [[0, 3]]

    asyncio.run(scenario())


@pytest.mark.kafka
def test_a_heartbeat_keeps_its_partition_awake_and_rounds_go_on(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        connection, topic = Connection((kafka,)), f"{topic_prefix}events"
        config = {"message.timestamp.type": "LogAppendTime"}
        async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
            await create_missing(admin, [TopicSpec("", topic, 2, config)], 1)
        rounds: asyncio.Queue[list[int]] = asyncio.Queue()
        times = iter([NOW_MS, NOW_MS + 1, 2**53])  # the broker's clock is between them
        beating = asyncio.create_task(
            beat(
                connection,
                topic,
                0,
                lambda at_ms: heartbeat_value(at_ms, {}, "json"),
                lambda: next(times),
                every_seconds=0.01,
                report=rounds.put_nowait,
            )
        )
        assert [await rounds.get() for _ in range(3)] == [[0, 1], [], [0, 1]]
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)

    asyncio.run(scenario())
