"""A worker that is killed again and again leaves what an undisturbed one would have left."""

import asyncio
import random
import time

import pytest

from tests.kafka.ledger import (
    EXACT,
    Verdict,
    WorkerProcess,
    events,
    make_topics,
    processed,
    produce,
    verify,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SEED = 4
PER_SECOND = 800


async def until_more(kafka: str, app_id: str, count: int) -> None:
    deadline = time.monotonic() + 30
    while await processed(kafka, app_id) <= count:
        assert time.monotonic() < deadline, "the worker processed nothing"


async def killed(kafka: str, app_id: str, delivery: str, kills: int) -> tuple[int, Verdict]:
    """SIGKILL a worker in mid-stream, some of the times while it is still recovering."""
    draw = random.Random(SEED)  # noqa: S311
    await make_topics(kafka, app_id)
    batch = events(2_400 * kills, seed=SEED)
    producing = asyncio.create_task(produce(kafka, app_id, batch, PER_SECOND))
    in_mid_stream = 0

    def worker() -> WorkerProcess:
        shell = {"instance_id": "w1", "max_batch_events": 32, "delivery": delivery}
        return WorkerProcess(kafka, app_id, "--slow", "0.01", **shell)

    for _ in range(kills):
        victim = worker()
        await asyncio.to_thread(victim.ready)
        before = await processed(kafka, app_id)
        await until_more(kafka, app_id, before)
        await asyncio.sleep(draw.uniform(0.0, 0.5))
        in_mid_stream += await processed(kafka, app_id) < len(batch)
        victim.process.kill()
        await asyncio.to_thread(victim.wait)
        # Once more, while it recovers.
        victim = worker()
        await asyncio.to_thread(victim.says, "recovering")
        await asyncio.sleep(draw.uniform(0.0, 0.1))
        await asyncio.to_thread(victim.kill)
    await producing
    last = worker()
    deadline = time.monotonic() + 60
    while await processed(kafka, app_id) < len(batch):
        assert time.monotonic() < deadline, "the last worker did not catch up"
        await asyncio.sleep(0.2)
    code, _ = await asyncio.to_thread(last.stop)
    assert code == 0
    return in_mid_stream, await verify(kafka, app_id, batch)


def test_exactly_once_survives_kills_with_nothing_lost_and_nothing_doubled(
    kafka: str, topic_prefix: str
) -> None:
    in_mid_stream, verdict = asyncio.run(killed(kafka, topic_prefix + "a", "exactly_once", 5))
    assert in_mid_stream == 5
    assert verdict == EXACT


def test_at_least_once_survives_kills_with_nothing_lost_and_the_same_state(
    kafka: str, topic_prefix: str
) -> None:
    in_mid_stream, verdict = asyncio.run(killed(kafka, topic_prefix + "a", "at_least_once", 2))
    assert in_mid_stream == 2
    assert (verdict.missing, verdict.state, verdict.strange) == (0, True, 0)
