"""Holes of stock Faust, shown on stock Faust, and closed here.

The first half of each test fails when Faust mends the hole: then ours can go.
"""

import asyncio
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.transport.consumer import Consumer
from faust.types import TP, ConsumerMessage

from stream_app.app import create_application
from stream_app.core.batch import EventBatch, OutputBatch
from stream_app.kafka.application import AsItIs
from stream_app.kafka.contract import Core, Mark
from stream_app.kafka.observer import Unobserved
from tests.kafka.counting import CORE, CountingStore, config, play
from tests.kafka.ledger import (
    EXACT,
    Event,
    Watching,
    events,
    make_topics,
    produce,
    read_all,
    serving,
    until,
    verify,
)

SOURCE = TP("clicks", 0)
FAILING = 4
"""Offset of an event whose processing fails, once."""


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
        assert await group_offset(kafka, shell.app_id, shell.source) == 10

    asyncio.run(scenario())


async def stock_exactly_once(kafka: str, app_id: str, batch: list[Event]) -> None:
    """Faust's own exactly-once mode over an input of one partition, to its end. One event fails
    once, as where a service is away for a moment."""
    app = faust.App(
        app_id, broker=f"kafka://{kafka}", web_enabled=False, topic_disable_leader=True,
        autodiscover=False, processing_guarantee="exactly_once", broker_commit_interval=0.2,
        consumer_auto_offset_reset="earliest",
    )  # fmt: skip
    app._create_directories = lambda: None
    app.in_worker = True
    raw = {"value_type": bytes, "value_serializer": "raw"}
    outputs = app.topic(f"{app_id}.predictions", **raw)
    seen: list[int] = []

    @app.agent(app.topic(f"{app_id}.in", **raw))
    async def echo(clicks: Any) -> None:
        async for event in clicks.events():
            seen.append(event.message.offset)
            if event.message.offset == FAILING and seen.count(FAILING) == 1:
                raise ZeroDivisionError
            await outputs.send(value=b"%d" % event.message.offset)

    starting = asyncio.create_task(app.start())
    await until(lambda: len(batch) - 1 in seen)
    await app.stop()
    await asyncio.gather(starting, return_exceptions=True)


@pytest.mark.kafka
@pytest.mark.slow
def test_exactly_once_is_no_less_than_once_where_an_event_fails_for_a_moment(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        app_id, batch = topic_prefix + "stock", [(0, b"k")] * 10
        await make_topics(kafka, app_id, 1)
        await produce(kafka, app_id, batch)
        await stock_exactly_once(kafka, app_id, batch)
        rows = (await read_all(kafka, f"{app_id}.predictions", 1))[0]
        assert [int(row.value) for row in rows] == [n for n in range(10) if n != FAILING]
        assert await group_offset(kafka, app_id, f"{app_id}.in") == 10

        shell = config(kafka, topic_prefix + "ours", partitions=1, max_batch_events=4)
        failures: list[int] = []

        def failing_once(batch: EventBatch, store: CountingStore, mark: Mark) -> OutputBatch:
            if FAILING in batch.offsets and not failures:
                failures.append(FAILING)
                raise ZeroDivisionError
            return play(batch, store, mark)

        await make_topics(kafka, shell.app_id, 1)
        await produce(kafka, shell.app_id, batch)
        core = Core(store=CountingStore, play=failing_once)
        async with serving(shell, core) as app:
            await until(lambda: app.crashed)
        watching = Watching()
        async with serving(shell, core, watching):
            await until(lambda: 10 in {lane.next_offset for lane in watching.latest.values()})
        assert failures == [FAILING]
        assert await verify(kafka, shell.app_id, batch, 1) == EXACT

    asyncio.run(scenario())


async def group_offset(kafka: str, group: str, topic: str) -> int | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)
    await consumer.start()
    offset: int | None = await consumer.committed(TopicPartition(topic, 0))
    await consumer.stop()
    return offset


def test_a_flush_before_a_commit_waits_for_the_broker() -> None:
    """Faust's gives up after a tenth of a second, and the offset is committed all the same. Ours
    has no flush: tests/kafka/test_delivery.py shows that an unacknowledged output stops the commit.
    """

    async def scenario() -> None:
        app = stock()
        buffer = app.producer.buffer

        async def endless(pending: Any) -> None:
            await asyncio.Event().wait()

        buffer._send_pending = endless
        await buffer.start()
        for _ in range(3):
            buffer.put(object())
        await asyncio.sleep(0)
        await asyncio.wait_for(buffer.flush(), 30)
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
