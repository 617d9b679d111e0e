"""Partitions move between workers, to spare ones and away from ones that do not know it yet."""

import asyncio
import signal

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


async def until_processed(kafka: str, app_id: str, count: int) -> None:
    async with asyncio.timeout(60):
        while await processed(kafka, app_id) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def test_a_worker_that_slept_through_the_loss_of_its_partitions_adds_nothing(
    kafka: str, topic_prefix: str
) -> None:
    """It wakes with a micro-batch in hand, and aiokafka sends no generation that would give it
    away; the transactional id does."""

    async def scenario() -> None:
        app_id, batch = topic_prefix + "a", events(4_000)
        await make_topics(kafka, app_id)
        # Slow enough that it is in the middle of a micro-batch whenever it is stopped.
        sleeper = WorkerProcess(kafka, app_id, "--slow", "0.05", max_batch_events=16)
        await asyncio.to_thread(sleeper.ready)
        await produce(kafka, app_id, batch[:2_000])
        await until_processed(kafka, app_id, 100)
        sleeper.process.send_signal(signal.SIGSTOP)
        before = await processed(kafka, app_id)
        assert before < 2_000
        other = WorkerProcess(kafka, app_id)
        await asyncio.to_thread(other.ready)
        await until_processed(kafka, app_id, 2_000)
        sleeper.process.send_signal(signal.SIGCONT)
        await produce(kafka, app_id, batch[2_000:])
        await until_processed(kafka, app_id, len(batch))
        for worker in (sleeper, other):
            code, _ = await asyncio.to_thread(worker.stop)
            assert code == 0
        assert await verify(kafka, app_id, batch) == EXACT

    asyncio.run(scenario())


def test_a_spare_worker_is_ready_and_serves_as_soon_as_there_is_something_for_it(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=1)
        await make_topics(kafka, shell.app_id, 1)
        batch = events(40, partitions=1)
        spare = Watching()
        async with serving(shell, watching=(first := Watching())):
            await produce(kafka, shell.app_id, batch[:20])
            await until(lambda: first.events == 20)
            second = serving(shell, watching=spare)
            await second.__aenter__()
            await until(lambda: len(first.recoveries) == 2)
        await until(lambda: spare.recoveries[-1].partitions == 1)
        await produce(kafka, shell.app_id, batch[20:])
        await until(lambda: first.events + spare.events == 40)
        await second.__aexit__(None, None, None)
        assert await verify(kafka, shell.app_id, batch, 1) == EXACT

    asyncio.run(scenario())
