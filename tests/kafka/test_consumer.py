"""Faust sees one message per partition and poll, and none that is out of date."""

import asyncio
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import NodeNotReadyError
from aiokafka.structs import BrokerMetadata
from faust.transport.drivers.aiokafka import Transport
from faust.types import TP

from stream_app.app import create_application
from stream_app.kafka.cluster import free_ports
from stream_app.kafka.consumer import HOLD_POLL_SECONDS
from stream_app.kafka.inbox import Chunk
from tests.kafka.counting import CORE, config
from tests.kafka.ledger import Watching, events, make_topics, produce, serving, until

pytestmark = pytest.mark.kafka


def test_a_poll_is_one_message_per_partition_whatever_it_holds(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a")
        await make_topics(kafka, shell.app_id)
        watching, chunks = Watching(), []
        batch = events(2_000)
        await produce(kafka, shell.app_id, batch)
        async with serving(shell, watching=watching) as app:
            offer = app.lanes.offer

            def counted(chunk: Chunk) -> None:
                chunks.append(chunk)
                offer(chunk)

            app.lanes.offer = counted  # type: ignore[method-assign]
            await until(lambda: watching.events == len(batch))
            assert len(app.consumer.unacked) == 0
        assert sum(len(chunk.rows) for chunk in chunks) <= len(batch)
        # Faust's own consumer would have made 2,000 messages of it.
        assert len(chunks) + len(watching.done) < 60

    asyncio.run(scenario())


def test_what_was_read_before_the_flow_stopped_is_not_handed_on(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=2)
        await make_topics(kafka, shell.app_id, 2)
        async with serving(shell) as app:
            consumer, given = app.consumer, []
            sources = [TP(shell.source, 0), TP(shell.source, 1)]

            async def read(tps: frozenset[TP], wait: float, max_rows: int | None) -> list[Any]:
                consumer.stop_flow()
                return [Chunk(tp.topic, tp.partition, 0, 1, ("row",), 0.0) for tp in sources]

            consumer._thread.read = read  # type: ignore[method-assign]
            given += [message async for message in consumer.getmany(0.1)]
            assert given == []

    asyncio.run(scenario())


def test_while_a_partition_is_on_hold_polls_are_short(kafka: str, topic_prefix: str) -> None:
    """What waits inside aiokafka for a partition on hold wakes no poll that is under way."""

    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=1)
        await make_topics(kafka, shell.app_id, 1)
        async with serving(shell) as app:
            consumer, waits = app.consumer, []
            read = consumer._thread.read

            async def timed(tps: frozenset[TP], wait: float, max_rows: int | None) -> list[Any]:
                waits.append((set(tps), wait))
                return await read(tps, wait, max_rows)

            consumer._thread.read = timed  # type: ignore[method-assign]
            tp = TP(shell.source, 0)
            consumer.on_buffer_full(tp)
            await until(lambda: (set(), HOLD_POLL_SECONDS) in waits)
            consumer.on_buffer_drop(tp)
            await until(lambda: ({tp}, 1.0) in waits)
            # And a new assignment begins without any.
            consumer.on_buffer_full(tp)
            waits.clear()
            async with serving(shell):
                pass
            await until(lambda: ({tp}, 1.0) in waits)

    asyncio.run(scenario())


async def appears(client: AIOKafkaClient, topic: str) -> None:
    """The controller answers before the brokers have heard of it."""
    async with asyncio.timeout(10):
        while topic not in (await client.fetch_all_metadata()).topics():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def test_a_broker_that_names_none_is_asked_again(kafka: str, topic_prefix: str) -> None:
    """One that was away does so until the cluster has it back, and a worker may start then."""

    async def scenario() -> None:
        app = create_application(config(kafka, topic_prefix + "a"), CORE, Watching())
        client = AIOKafkaClient(bootstrap_servers=kafka)
        await client.bootstrap()
        try:
            (known,) = client.cluster._brokers
            asked = client._conns["bootstrap", ConnectionGroup.DEFAULT] = await client._get_conn(
                known
            )
            assert asked is not None
            client.cluster._brokers = {}
            with pytest.raises(Exception, match="Controller node not found"):
                await Transport._get_controller_node(app.transport, app, client)
            topic = topic_prefix + "new"
            await app.transport._create_topic(app, client, topic, 1, 1)
            await appears(client, topic)
        finally:
            await client.close()

    asyncio.run(scenario())


def test_a_topic_is_created_though_the_first_broker_that_is_known_is_down(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust asks that one and no other, and the worker ends."""

    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a")
        app = create_application(shell, CORE, Watching())
        client = AIOKafkaClient(bootstrap_servers=kafka)
        await client.bootstrap()
        try:
            (port,) = free_ports(1)
            (known,) = client.cluster.brokers()
            # A set in aiokafka, and so in an order that changes from process to process.
            down_first = [BrokerMetadata(0, "127.0.0.1", port, None), known]
            monkeypatch.setattr(client.cluster, "brokers", lambda: down_first)
            monkeypatch.setattr(client.cluster, "_brokers", {b.nodeId: b for b in down_first})
            topic = topic_prefix + "new"
            with pytest.raises(NodeNotReadyError):
                await Transport._get_controller_node(app.transport, app, client)
            monkeypatch.setattr(client.cluster, "_brokers", {b.nodeId: b for b in down_first})
            await app.transport._create_topic(app, client, topic, 1, 1)
            await appears(client, topic)
        finally:
            await client.close()

    asyncio.run(scenario())
