"""A worker that cannot work says why, in a sentence, before it starts."""

import asyncio
import time
from collections.abc import Mapping

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_app.app import NEEDED
from stream_app.core.events import TOPICS
from stream_app.kafka.cluster import free_ports
from stream_app.kafka.connection import Connection, KafkaUnreachable
from stream_app.kafka.preflight import Ground, PreflightFailed, inspect
from stream_app.kafka.topic_admin import ensure_topics

pytestmark = pytest.mark.kafka


def names(prefix: str) -> dict[str, str]:
    return {role: prefix + role for role in TOPICS}


async def look(kafka: str, prefix: str) -> Ground:
    return await inspect(Connection((kafka,)), names(prefix), prefix + "log", 4, NEEDED)


async def create(kafka: str, topics: Mapping[str, int], settings: Mapping[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics(
        [NewTopic(name, count, 1, topic_configs=dict(settings)) for name, count in topics.items()]
    )
    await admin.close()


def test_the_input_topic_says_how_many_partitions_there_are(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        await ensure_topics(Connection((kafka,)), names(topic_prefix), topic_prefix + "log", 3)
        ground = await look(kafka, topic_prefix)
        assert ground.partitions == 3
        assert ground.max_record_bytes[topic_prefix + "predictions"] == 1_048_588
        assert topic_prefix + "demand" not in ground.max_record_bytes

    asyncio.run(scenario())


def test_missing_topics_are_all_named_with_the_command_that_makes_them(
    kafka: str, topic_prefix: str
) -> None:
    with pytest.raises(PreflightFailed) as failure:
        asyncio.run(look(kafka, topic_prefix))
    for name in (*NEEDED, "log"):
        assert topic_prefix + name in str(failure.value)
    assert "clickahead topics" in str(failure.value)
    assert failure.value.exit_code == 2


def test_topics_of_the_wrong_shape_are_refused_with_the_reason(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        await create(kafka, {topic_prefix + "log": 2}, {"cleanup.policy": "delete"})
        await ensure_topics(Connection((kafka,)), names(topic_prefix), topic_prefix + "log", 3)
        with pytest.raises(PreflightFailed) as failure:
            await look(kafka, topic_prefix)
        assert f"{topic_prefix}log has 2 partitions and needs 3" in str(failure.value)
        assert "cleanup.policy=delete" in str(failure.value)

    asyncio.run(scenario())


def test_a_kafka_that_is_not_there_is_waited_for_and_then_named() -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    started = time.monotonic()
    with pytest.raises(KafkaUnreachable, match=address) as failure:
        asyncio.run(inspect(Connection((address,)), names("x"), "log", 4, NEEDED, 1.5))
    assert 1 <= time.monotonic() - started < 10
    assert failure.value.exit_code == 3
