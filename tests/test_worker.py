"""The worker as a process: soon ready, ends in order, and never acknowledges what it did not do."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kafka.ledger import (
    EXACT,
    ROOT,
    WorkerProcess,
    events,
    make_topics,
    processed,
    produce,
    verify,
)

pytestmark = pytest.mark.kafka

READY_SECONDS = 10.0
STOP_SECONDS = 5.0


async def until_processed(kafka: str, app_id: str, count: int) -> None:
    deadline = time.monotonic() + 30
    while await processed(kafka, app_id) < count:
        assert time.monotonic() < deadline, "the events were not processed in time"
        await asyncio.sleep(0.1)


def test_ready_within_ten_seconds_of_process_start_and_gone_within_five_of_sigterm(
    kafka: str, topic_prefix: str
) -> None:
    app_id = topic_prefix + "a"
    asyncio.run(make_topics(kafka, app_id))
    worker = WorkerProcess(kafka, app_id)
    worker.ready()
    assert time.monotonic() - worker.started < READY_SECONDS
    started = time.monotonic()
    code, _ = worker.stop()
    assert time.monotonic() - started < STOP_SECONDS
    assert code == 0


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_mid_stream_loses_and_doubles_nothing(
    kafka: str, topic_prefix: str, delivery: str, number: signal.Signals
) -> None:
    async def scenario() -> None:
        app_id, batch = topic_prefix + "a", events(1_500)
        await make_topics(kafka, app_id)
        worker = WorkerProcess(kafka, app_id, "--slow", "0.02", delivery=delivery)
        await asyncio.to_thread(worker.ready)
        producing = asyncio.create_task(produce(kafka, app_id, batch, per_second=1_000))
        await asyncio.sleep(0.7)
        code, errors = await asyncio.to_thread(worker.stop, number)
        assert code == 0
        assert "CRITICAL" not in errors
        await producing
        first = await processed(kafka, app_id)
        assert 0 < first < len(batch)
        worker = WorkerProcess(kafka, app_id, delivery=delivery)
        await until_processed(kafka, app_id, len(batch))
        await asyncio.to_thread(worker.stop)
        # A stop is no crash: at least once is exactly once, too.
        assert await verify(kafka, app_id, batch) == EXACT

    asyncio.run(scenario())


def test_an_exception_ends_the_worker_with_a_reason_and_its_event_is_not_passed_over(
    kafka: str, topic_prefix: str
) -> None:
    """Faust acknowledges the event that made its agent raise, and goes on behind it."""

    async def scenario() -> None:
        app_id = topic_prefix + "a"
        await make_topics(kafka, app_id)
        good, poison = events(100), (2, b"poison")
        worker = WorkerProcess(kafka, app_id, "--poison", "poison")
        await asyncio.to_thread(worker.ready)
        await produce(kafka, app_id, good)
        await until_processed(kafka, app_id, len(good))
        await produce(kafka, app_id, [poison])
        code, errors = await asyncio.to_thread(worker.wait)
        assert code == 1
        assert f"{app_id}.in-2: a micro-batch after offset" in errors
        assert "ValueError: poison" in errors
        assert await verify(kafka, app_id, good) == EXACT
        # Once the defect is mended, the event is there.
        worker = WorkerProcess(kafka, app_id)
        await until_processed(kafka, app_id, len(good) + 1)
        await asyncio.to_thread(worker.stop)
        assert await verify(kafka, app_id, [*good, poison]) == EXACT

    asyncio.run(scenario())


def test_a_killed_static_member_gets_its_partitions_back_before_its_session_ends(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        app_id, batch = topic_prefix + "a", events(200)
        await make_topics(kafka, app_id)
        session = {"instance_id": "w1", "session_timeout_ms": 60_000}
        worker = WorkerProcess(kafka, app_id, **session)
        await asyncio.to_thread(worker.ready)
        await produce(kafka, app_id, batch[:100])
        await until_processed(kafka, app_id, 100)
        worker.kill()
        worker = WorkerProcess(kafka, app_id, **session)
        await asyncio.to_thread(worker.ready)
        assert time.monotonic() - worker.started < READY_SECONDS
        await produce(kafka, app_id, batch[100:])
        await until_processed(kafka, app_id, 200)
        await asyncio.to_thread(worker.stop)
        assert await verify(kafka, app_id, batch) == EXACT

    asyncio.run(scenario())


def test_a_worker_that_cannot_stop_in_order_is_ended_by_a_second_signal(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        app_id = topic_prefix + "a"
        await make_topics(kafka, app_id)
        worker = WorkerProcess(kafka, app_id, "--slow", "3")
        await asyncio.to_thread(worker.ready)
        await produce(kafka, app_id, [(0, b"k"), (1, b"k"), (2, b"k"), (3, b"k")])
        await asyncio.sleep(1)
        worker.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        worker.process.send_signal(signal.SIGTERM)
        code, _ = await asyncio.to_thread(worker.wait)
        assert code in (0, 128 + signal.SIGTERM)

    asyncio.run(scenario())


def test_the_worker_does_not_import_torch(tmp_path: Path) -> None:
    """It takes seconds and hundreds of megabytes, and the serving set does not have it."""
    marker = tmp_path / "imported"
    (tmp_path / "torch.py").write_text(f"open({str(marker)!r}, 'w')\nraise ImportError('torch')\n")
    done = subprocess.run(
        [sys.executable, "-c", "import stream_app.commands.worker"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not marker.exists()
