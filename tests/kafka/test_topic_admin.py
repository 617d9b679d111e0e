"""Topics on a real Kafka: made once, left alone, and their defects told."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import BrokerMetadata

from stream_app.core.events import TOPICS
from stream_app.kafka.cluster import free_ports
from stream_app.kafka.connection import Connection, KafkaUnreachable, opened
from stream_app.kafka.topic_admin import (
    TopicError,
    TopicReport,
    answered,
    ensure_topics,
    read_topics,
)
from stream_app.kafka.topics import TopicState

pytestmark = pytest.mark.kafka


async def ensure(kafka: str, prefix: str, partitions: int, **options: object) -> TopicReport:
    names = {role: prefix + role for role in TOPICS}
    connection = Connection((kafka,))
    return await ensure_topics(connection, names, f"{prefix}changelog", partitions, **options)  # type: ignore[arg-type]


def test_topics_are_created_once_by_many(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        looked = await ensure(kafka, topic_prefix, 3, create=False)
        assert looked.created == ()
        assert looked.states == {}
        reports = await asyncio.gather(*(ensure(kafka, topic_prefix, 3) for _ in range(3)))
        created = sorted(name for report in reports for name in report.created)
        assert created == sorted(spec.name for spec in reports[0].specs)
        for report in reports:
            assert report.mismatches == []
            assert len(report.states) == len(TOPICS) + 1
            for spec in report.specs:
                state = report.states[spec.name]
                assert (state.partitions, state.replicas) == (spec.partitions, 1)
                assert {key: state.config[key] for key in spec.config} == dict(spec.config)
        # Another number is asked for, but the events that are there decide.
        again = await ensure(kafka, topic_prefix, 5)
        assert again.created == ()
        assert again.mismatches == []
        assert again.states == reports[0].states

    asyncio.run(scenario())


def test_topics_of_another_shape_are_told_and_left_alone(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        connection = Connection((kafka,))
        async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
            events = NewTopic(f"{topic_prefix}events", 2, 1)
            predictions = NewTopic(f"{topic_prefix}predictions", 3, 1)
            await admin.create_topics([events, predictions])
            report = await ensure(kafka, topic_prefix, 3)
            before = await read_topics(admin, [events.name, predictions.name])
        assert f"{topic_prefix}events" not in report.created
        assert report.states[f"{topic_prefix}rejected"].partitions == 2
        assert [sentence.split(":")[0] for sentence in report.mismatches] == [
            f"{topic_prefix}events has message.timestamp.type=CreateTime",
            f"{topic_prefix}predictions has 3 partitions and needs 2",
        ]
        assert before == {name: report.states[name] for name in before}

    asyncio.run(scenario())


def test_what_the_cluster_refuses_is_said(kafka: str, topic_prefix: str) -> None:
    with pytest.raises(TopicError, match=r"events: .*replication factor of 3"):
        asyncio.run(ensure(kafka, topic_prefix, 1, replicas=3))


def test_a_kafka_that_is_not_there_is_said() -> None:
    with pytest.raises(KafkaUnreachable, match=r"No Kafka answers PLAINTEXT at 127\.0\.0\.1:1\."):
        asyncio.run(ensure("127.0.0.1:1", "x", 1))


def test_a_broker_that_is_down_does_not_keep_the_others_from_answering(
    kafka: str, topic_prefix: str
) -> None:
    """aiokafka asks any broker that it has heard of, at first the wrong one here."""

    async def scenario() -> None:
        connection = Connection((kafka,))
        async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
            known, (port,) = admin._client.cluster._brokers, free_ports(1)
            known[100] = BrokerMetadata(100, "127.0.0.1", port, None)
            tries = 0

            async def ask() -> dict[str, TopicState]:
                nonlocal tries
                tries += 1
                if tries < 3:
                    await admin._client.send(100, None)
                return await read_topics(admin, [])

            assert await answered(ask) == {}
            assert tries >= 3
            # Where none is, it is said and not waited for.
            with pytest.raises(KafkaUnreachable, match="advertised"):
                await answered(lambda: admin._client.send(100, None), seconds=0.3)

    asyncio.run(scenario())
