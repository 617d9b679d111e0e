"""Chunks name the positions they were read from, whatever lies between the records."""

import asyncio
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ConsumerStoppedError
from faust.types import TP
from mode.threads import ServiceThread

from stream_app.kafka.consumer_thread import ConsumerThread
from tests.kafka.counting import config
from tests.kafka.ledger import make_topics, produce, serving, until

pytestmark = pytest.mark.kafka


def test_chunks_cover_the_log_from_where_it_was_set_without_a_hole(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=1)
        await make_topics(kafka, shell.app_id, 1)
        producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic_prefix + "in")
        await producer.start()
        for _ in range(5):
            async with producer.transaction():
                for _ in range(3):
                    await producer.send(shell.source, b"v", key=b"k", partition=0)
        await producer.stop()
        source = TP(shell.source, 0)
        async with serving(shell) as app:
            await until(lambda: app.partitions.stores[0].next_offset == 20)
            thread = app.consumer.thread
            # The worker's own polls end here; what follows is read by the test alone.
            app.consumer.stop_flow()
            await thread.set_positions({source: 5})
            chunks = []
            while not chunks or chunks[-1].end < 20:
                chunks += await thread.read(frozenset([source]), 0.1, 2)
            assert chunks[0].start == 5
            assert all(a.end == b.start for a, b in pairwise(chunks))
            offsets = [row.offset for chunk in chunks for row in chunk.rows]
            assert offsets == [5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18]
            assert await thread.positions([source]) == {source: 20}
            assert thread.position_of(source) == 20
            assert await thread.log_bounds([source]) == {source: (0, 20)}
            await thread.commit_offsets({source: 20})
            assert await thread.committed([source]) == {source: 20}

    asyncio.run(scenario())


def test_a_read_under_way_takes_nothing_of_what_a_seek_asks_for(
    kafka: str, topic_prefix: str
) -> None:
    """Its caller would drop it or put it in the wrong place, and the position would have moved."""

    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=1)
        await make_topics(kafka, shell.app_id, 1)
        await produce(kafka, shell.app_id, [(0, b"k")] * 4)
        source = TP(shell.source, 0)
        async with serving(shell) as app:
            await until(lambda: app.partitions.stores[0].next_offset == 4)
            thread = app.consumer.thread
            app.consumer.stop_flow()
            await thread.set_positions({source: 4})
            waiting = asyncio.create_task(thread.read(frozenset([source]), 5, None))
            await asyncio.sleep(0.2)
            await thread.set_positions({source: 1})
            assert await waiting == []
            chunks = []
            while not chunks:
                chunks = await thread.read(frozenset([source]), 0.5, None)
            assert (chunks[0].start, chunks[0].end) == (1, 4)
            # A partition that nobody set a position for is not read at all.
            await thread.stop_reading([source])
            assert await thread.read(frozenset([source]), 0.1, None) == []
        with pytest.raises(ConsumerStoppedError):
            await thread.refresh_metadata()

    asyncio.run(scenario())


def test_a_task_that_loses_a_cancellation_does_not_keep_the_thread() -> None:
    """Faust waits for it for ever."""

    async def deaf_once() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    async def gathered(by: type[ServiceThread], seconds: float) -> bool:
        thread: Any = SimpleNamespace(thread_loop=asyncio.get_running_loop())
        deaf = asyncio.create_task(deaf_once())
        await asyncio.sleep(0)
        async with asyncio.timeout(seconds):
            await by._gather_remaining_tasks(thread)
        return deaf.cancelled()

    with pytest.raises(TimeoutError):
        asyncio.run(gathered(ServiceThread, 0.3))
    assert asyncio.run(gathered(ConsumerThread, 5.0))
