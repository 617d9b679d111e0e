"""A worker's partitions on a real Kafka: what reaches them may be wrong, what leaves is not."""

import asyncio
import logging
import random
import time
from typing import Any

import pytest

from stream_app.core.batch import EventBatch
from stream_app.kafka import lanes as lanes_module
from stream_app.kafka.contract import Core, Mark
from stream_app.kafka.inbox import Chunk
from stream_app.kafka.lanes import WAITING_BATCHES, PartitionFailed
from stream_app.kafka.producers import let_go, take_over
from tests.kafka.counting import CountingStore, config, play
from tests.kafka.ledger import (
    EXACT,
    Watching,
    events,
    make_topics,
    produce,
    serving,
    until,
    verify,
)

pytestmark = pytest.mark.kafka


def test_chunks_lost_repeated_and_disordered_on_the_way_change_nothing(
    kafka: str, topic_prefix: str
) -> None:
    """Faust did each of these around a rebalance; a transaction would make the damage permanent."""

    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", max_batch_events=7)
        await make_topics(kafka, shell.app_id)
        batch = events(2_000)
        watching, draw = Watching(), random.Random(3)  # noqa: S311
        async with serving(shell, watching=watching) as app:
            offer, kept = app.lanes.offer, []

            def unreliable(chunk: Chunk) -> None:
                kept.append(chunk)
                if draw.random() < 0.2:
                    return
                offer(chunk)
                if draw.random() < 0.3:
                    offer(draw.choice(kept))

            app.lanes.offer = unreliable  # type: ignore[method-assign]
            await produce(kafka, shell.app_id, batch, per_second=1_000)
            app.lanes.offer = offer  # type: ignore[method-assign]
            await produce(kafka, shell.app_id, [(p, b"last") for p in range(4)])
            await until(lambda: watching.events == 2_004)
        assert (
            await verify(kafka, shell.app_id, [*batch, *((p, b"last") for p in range(4))]) == EXACT
        )

    asyncio.run(scenario())


def test_a_fenced_partition_ends_alone_and_the_worker_with_it_only_if_it_should_have_it(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes_module, "FENCED_GRACE_SECONDS", 1.0)

    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=2)
        await make_topics(kafka, shell.app_id, 2)
        watching = Watching()
        async with serving(shell, watching=watching) as app:
            thief = await take_over(shell, 0)
            await produce(kafka, shell.app_id, [(0, b"k"), (1, b"k")])
            await until(lambda: watching.events == 1)
            assert watching.done[0].partition == 1
            assert not app.crashed
            await until(lambda: app.crashed)
            assert isinstance(app.crash_reason, PartitionFailed)
            assert "is in use elsewhere" in str(app.crash_reason)
            await let_go(thief)
        verdict = await verify(kafka, shell.app_id, [(1, b"k")], 2)
        assert verdict == EXACT

    asyncio.run(scenario())


def test_a_partition_that_is_behind_is_put_on_hold_and_loses_nothing(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", max_batch_events=16)
        await make_topics(kafka, shell.app_id)
        waiting = [0]

        def slow(batch: EventBatch, store: CountingStore, mark: Mark) -> Any:
            time.sleep(0.002)
            return play(batch, store, mark)

        batch = events(4_000)
        await produce(kafka, shell.app_id, batch)
        watching = Watching()
        async with serving(shell, Core(store=CountingStore, play=slow), watching) as app:
            offer = app.lanes.offer

            def measured(chunk: Chunk) -> None:
                offer(chunk)
                waiting.append(app.lanes._lanes[chunk.partition].inbox.size)

            app.lanes.offer = measured  # type: ignore[method-assign]
            await until(lambda: watching.events == len(batch), 60)
        # Full, and two polls above, which may have been on their way.
        assert 16 < max(waiting) <= (WAITING_BATCHES + 4) * 16
        assert max(len(done.timestamps_ms) for done in watching.done) == 16
        assert await verify(kafka, shell.app_id, batch) == EXACT

    asyncio.run(scenario())


def test_lag_is_what_waits_and_nothing_once_all_is_delivered(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=1)
        await make_topics(kafka, shell.app_id, 1)
        watching, going = Watching(), False

        def waiting(batch: EventBatch, store: CountingStore, mark: Mark) -> Any:
            time.sleep(0 if going else 1.2)
            return play(batch, store, mark)

        async with serving(shell, Core(store=CountingStore, play=waiting), watching):
            await produce(kafka, shell.app_id, events(30, 1))
            await until(lambda: 0 in watching.latest and watching.latest[0].lag_records > 0)
            assert watching.latest[0].lag_seconds > 0
            going = True
            await until(lambda: watching.latest[0].lag_records == 0)
            assert watching.latest[0].lag_seconds == 0
            assert watching.latest[0].next_offset == 30

    asyncio.run(scenario())


def test_a_worker_that_does_not_move_though_there_is_work_ends(
    kafka: str, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """aiokafka is known to stop fetching a partition after a rebalance (faust-streaming 629)."""
    caplog.set_level(logging.CRITICAL)

    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=1, stall_seconds=1.0)
        await make_topics(kafka, shell.app_id, 1)
        async with serving(shell) as app:
            await app.consumer.thread.stop_reading(app.consumer.assignment())
            await produce(kafka, shell.app_id, [(0, b"k")])
            await until(lambda: app.crashed)
            assert "has not moved" in str(app.crash_reason)

    asyncio.run(scenario())
