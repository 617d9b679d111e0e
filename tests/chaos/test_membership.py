"""Workers come, go and restart: as few rebalances as Kafka needs, and nobody waits for long."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from tests.kafka.counting import config
from tests.kafka.ledger import (
    EXACT,
    Watching,
    WorkerProcess,
    events,
    make_topics,
    processed,
    produce,
    serving,
    until,
    verify,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 6
SESSION_SECONDS = 6.0


def test_a_rolling_restart_of_named_workers_moves_nothing_and_bumps_no_generation(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        app_id, batch = topic_prefix + "a", events(600, PARTITIONS)
        await make_topics(kafka, app_id, PARTITIONS)

        def shell(name: int) -> object:
            more = {"instance_id": f"w{name}", "session_timeout_ms": 30_000}
            return config(kafka, app_id, PARTITIONS, **more)

        seen = [Watching() for _ in range(3)]
        workers = [serving(shell(n), watching=seen[n]) for n in range(3)]  # type: ignore[arg-type]
        apps = [await worker.__aenter__() for worker in workers]
        await until(lambda: all(w.recoveries and w.recoveries[-1].partitions == 2 for w in seen))
        generation = {app.consumer_generation_id for app in apps}
        assert len(generation) == 1
        before = [len(watching.recoveries) for watching in seen]
        for n in range(3):
            await workers[n].__aexit__(None, None, None)
            seen[n], before[n] = Watching(), 1
            await produce(kafka, app_id, batch[n * 200 : (n + 1) * 200])
            workers[n] = serving(shell(n), watching=seen[n])  # type: ignore[arg-type]
            apps[n] = await workers[n].__aenter__()
            while await processed(kafka, app_id, PARTITIONS) < (n + 1) * 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            assert {app.consumer_generation_id for app in apps} == generation
        # Nobody but the restarted one restored anything.
        assert [len(watching.recoveries) for watching in seen] == before
        for worker in workers:
            await worker.__aexit__(None, None, None)
        assert await verify(kafka, app_id, batch, PARTITIONS) == EXACT

    asyncio.run(scenario())


def test_partitions_that_stay_with_a_worker_are_not_restored_anew(
    kafka: str, topic_prefix: str
) -> None:
    """Faust's rebalance stops every partition for a moment; what has not moved is still true."""

    async def scenario() -> None:
        app_id, batch = topic_prefix + "a", events(300, PARTITIONS)
        shell = config(kafka, app_id, PARTITIONS)
        await make_topics(kafka, app_id, PARTITIONS)
        first, second = Watching(), Watching()
        async with AsyncExitStack() as stack:
            app = await stack.enter_async_context(serving(shell, watching=first))
            await produce(kafka, app_id, batch)
            await until(lambda: first.events == 300)
            stores = dict(app.partitions.stores)
            await stack.enter_async_context(serving(shell, watching=second))
            await until(lambda: len(first.recoveries) > 1 and second.recoveries[-1].partitions == 3)
            latest = first.recoveries[-1]
            assert (latest.partitions, latest.warm, latest.records) == (3, 3, 0)
            assert all(stores[p] is store for p, store in app.partitions.stores.items())
        assert await verify(kafka, app_id, batch, PARTITIONS) == EXACT

    asyncio.run(scenario())


def test_a_dead_workers_partitions_are_served_within_its_session_and_five_seconds(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> float:
        app_id, batch = topic_prefix + "a", events(400)
        await make_topics(kafka, app_id)
        watching = Watching()
        async with serving(config(kafka, app_id), watching=watching):
            victim = WorkerProcess(kafka, app_id)
            await asyncio.to_thread(victim.ready)
            await until(lambda: watching.recoveries[-1].partitions == 2)
            await produce(kafka, app_id, batch[:200])
            while await processed(kafka, app_id) < 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            died = time.monotonic()
            await asyncio.to_thread(victim.kill)
            await produce(kafka, app_id, batch[200:])
            while await processed(kafka, app_id) < 400:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            seconds = time.monotonic() - died
        assert await verify(kafka, app_id, batch) == EXACT
        return seconds

    assert asyncio.run(scenario()) < SESSION_SECONDS + 5
