"""Holes of stock Faust, shown on stock Faust, and closed here.

The first half of each test fails when Faust mends the hole: then ours can go.
"""

import asyncio
import time
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.transport.consumer import Consumer
from faust.types import TP, ConsumerMessage

from stream_app.app import create_application
from stream_app.kafka.application import AsItIs
from stream_app.kafka.observer import Unobserved
from tests.kafka.counting import CORE, config
from tests.kafka.ledger import Watching, events, make_topics, produce, serving, until

SOURCE = TP("clicks", 0)


def message(offset: int, value: Any = b"{}") -> ConsumerMessage:
    return ConsumerMessage(
        SOURCE.topic, SOURCE.partition, offset, 0.0, 0, [], None, value, None, 0, 0, SOURCE,
        generation_id=0,
    )  # fmt: skip


def stock() -> faust.App:
    return faust.App("stock", broker="kafka://127.0.0.1:1", autodiscover=False)


async def acknowledged_after_an_exception(app: faust.App, topic: Any) -> bool:
    """What becomes of an event whose processing raises."""
    app.flow_control.resume()
    event = app.create_event(None, b"{}", {}, given := message(7))
    given.incref()
    stream = topic.stream()
    stream.channel.queue.put_nowait(event)
    with pytest.raises(ZeroDivisionError):
        async for _ in stream:
            raise ZeroDivisionError
    # The generator's end is where Faust acknowledges.
    await asyncio.sleep(0.05)
    acknowledged = SOURCE in app.consumer._acked
    app.consumer._thread.thread_loop.close()
    return acknowledged


def test_an_event_whose_processing_raised_is_not_acknowledged() -> None:
    async def scenario() -> None:
        app = stock()
        app.topics._acking_topics.add("clicks")
        assert await acknowledged_after_an_exception(app, app.topic("clicks", schema=AsItIs()))

        ours = create_application(config("127.0.0.1:1", "a"), CORE, Unobserved())
        topic = ours.topic("clicks", schema=AsItIs(), acks=False)
        assert not await acknowledged_after_an_exception(ours, topic)

    asyncio.run(scenario())


def test_no_offset_is_committed_past_one_that_is_in_flight() -> None:
    """In flight is 10: the group must not read from 14 on."""

    async def scenario() -> None:
        consumer = stock().consumer
        consumer._committed_offset[SOURCE], consumer._acked[SOURCE] = 10, [11, 12, 13]
        assert Consumer._new_offset(consumer, SOURCE) == 14
        consumer._thread.thread_loop.close()

    asyncio.run(scenario())


@pytest.mark.kafka
def test_nothing_but_a_delivery_moves_the_groups_offset(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=1)
        await make_topics(kafka, shell.app_id, 1)
        watching, source = Watching(), TP(shell.source, 0)
        async with serving(shell, watching=watching) as app:
            await produce(kafka, shell.app_id, events(10, 1))
            await until(lambda: watching.events == 10)
            app.consumer._acked[source] = [50, 51, 52]
            app.topics._acking_topics.add(shell.source)
            await app.consumer.force_commit()
        group = AIOKafkaConsumer(
            bootstrap_servers=kafka, group_id=shell.app_id, enable_auto_commit=False
        )
        await group.start()
        assert await group.committed(TopicPartition(*source)) == 10
        await group.stop()

    asyncio.run(scenario())


def test_a_flush_before_a_commit_waits_for_the_broker() -> None:
    """Faust's gives up after a tenth of a second, and the offset is committed all the same. Ours
    has no flush: tests/kafka/test_delivery.py shows that an unacknowledged output stops the commit.
    """

    async def scenario() -> None:
        app = stock()
        buffer = app.producer.buffer

        async def slow(pending: Any) -> None:
            await asyncio.sleep(0.5)

        buffer._send_pending = slow
        await buffer.start()
        for _ in range(3):
            buffer.put(object())
        await asyncio.sleep(0)
        started = time.monotonic()
        await buffer.flush()
        assert time.monotonic() - started < 0.4
        assert buffer.size == 2
        buffer.pending._queue.clear()
        await buffer.stop()

    asyncio.run(scenario())


def test_the_app_is_a_faust_app_without_a_door() -> None:
    app = create_application(config("127.0.0.1:1", "a", instance_id="w1"), CORE, Unobserved())
    assert isinstance(app, faust.App)
    assert list(app.agents) == ["click"]
    assert list(app.tables) == ["state"]
    assert app.tables.changelog_topics == {"a-state-changelog"}
    assert not app.conf.web_enabled
    assert str(app.conf.canonical_url) == "http://w1"
