"""Kafka is not there, goes away and comes back, or holds somebody else's topics."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_app.core.events import TOPICS
from stream_app.kafka.cluster import free_ports
from stream_app.kafka.connection import Connection
from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import load
from stream_app.worker import STOP_SECONDS
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

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

# A minute was tried, too; what differs is how often aiokafka has tried in vain.
AWAY_SECONDS = {"exactly_once": 15.0, "at_least_once": 5.0}


def clickahead(kafka: str, prefix: str, model: Path) -> subprocess.Popen[str]:
    """``clickahead worker``, as somebody would start it."""
    own = {
        "CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "CLICKAHEAD_INPUT__TOPIC": prefix + "events",
        "CLICKAHEAD_TOPICS__PREFIX": prefix,
        "CLICKAHEAD_WORKER__APP_ID": prefix + "app",
        "CLICKAHEAD_WORKER__METRICS_PORT": "0",
    }
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "stream_app", "worker", "--model", str(model)],
        cwd=ROOT, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def end_of(worker: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = worker.communicate(timeout=90)
    return worker.returncode, said


@pytest.fixture(scope="module", autouse=True)
def in_vain(tiny_model: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A worker that waits half a minute for Kafka, while other tests run; and where it looks."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with clickahead(address, "nobodys.", tiny_model) as worker:
        yield address, worker
        worker.kill()


@pytest.fixture
def own_kafka(kafka_jars: Path, tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A Kafka that the test may kill."""
    with EmbeddedKafka(tmp_path, kafka_jars) as cluster:
        yield cluster


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_kafka_that_goes_and_comes_back_costs_time_and_nothing_else(
    own_kafka: EmbeddedKafka, topic_prefix: str, delivery: str
) -> None:
    async def scenario() -> None:
        kafka, app_id, batch = own_kafka.bootstrap_servers, topic_prefix + "a", events(1_200)
        await make_topics(kafka, app_id)
        shell = {"delivery": delivery, "max_batch_events": 16}
        worker = WorkerProcess(kafka, app_id, "--slow", "0.02", **shell)
        await asyncio.to_thread(worker.ready)
        await produce(kafka, app_id, batch[:600])
        while await processed(kafka, app_id) < 50:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        # In the middle of micro-batches and of their transactions.
        await asyncio.to_thread(own_kafka.kill_node, 1)
        await asyncio.sleep(AWAY_SECONDS[delivery])
        assert worker.process.poll() is None
        await asyncio.to_thread(own_kafka.start_node, 1)
        await produce(kafka, app_id, batch[600:])
        async with asyncio.timeout(60):
            while await processed(kafka, app_id) < len(batch):
                assert worker.process.poll() is None, worker.wait()[1]
                await asyncio.sleep(0.1)
        code, said = await asyncio.to_thread(worker.stop)
        assert code == 0
        assert "Unable connect to node" in said
        verdict = await verify(kafka, app_id, batch)
        if delivery == "exactly_once":
            assert verdict == EXACT
        assert (verdict.missing, verdict.strange, verdict.state) == (0, 0, True)

    asyncio.run(scenario())


def test_workers_told_to_stop_while_no_delivery_gets_through_end_in_time_and_lose_nothing(
    own_kafka: EmbeddedKafka, topic_prefix: str
) -> None:
    """A broker that hangs answers nothing and closes nothing: whoever waits for it waits."""
    kafka, batch = own_kafka.bootstrap_servers, events(1_200)

    async def begin(app_id: str, delivery: str) -> WorkerProcess:
        await make_topics(kafka, app_id)
        shell = {"delivery": delivery, "max_batch_events": 16}
        worker = WorkerProcess(kafka, app_id, "--slow", "0.02", **shell)
        await asyncio.to_thread(worker.ready)
        await produce(kafka, app_id, batch)
        while await processed(kafka, app_id) < 50:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return worker

    async def stop(worker: WorkerProcess) -> None:
        told = time.monotonic()
        code, said = await asyncio.to_thread(worker.stop)
        # Whoever waits for the broker waits for as long as it hangs.
        assert time.monotonic() - told < 2 * STOP_SECONDS, said
        assert "A micro-batch was not delivered in time; its next owner repeats it." in said
        assert code in (0, 1), said

    async def finish(app_id: str, delivery: str) -> None:
        assert await processed(kafka, app_id) < len(batch)
        successor = WorkerProcess(kafka, app_id, delivery=delivery)
        async with asyncio.timeout(60):
            while await processed(kafka, app_id) < len(batch):
                assert successor.process.poll() is None, successor.wait()[1]
                await asyncio.sleep(0.1)
        code, _ = await asyncio.to_thread(successor.stop)
        assert code == 0
        verdict = await verify(kafka, app_id, batch)
        if delivery == "exactly_once":
            assert verdict == EXACT
        assert (verdict.missing, verdict.strange, verdict.state) == (0, 0, True)

    async def scenario() -> None:
        apps = {f"{topic_prefix}{name}": name for name in ("exactly_once", "at_least_once")}
        workers = await asyncio.gather(*(begin(*app) for app in apps.items()))
        own_kafka.pause_node(1)
        # The micro-batches that are in hand are played, and on their way.
        await asyncio.sleep(1.0)
        await asyncio.gather(*(stop(worker) for worker in workers))
        own_kafka.resume_node(1)
        await asyncio.gather(*(finish(*app) for app in apps.items()))

    asyncio.run(scenario())


def test_a_kafka_that_never_answers_ends_the_start_with_its_address(
    in_vain: tuple[str, subprocess.Popen[str]],
) -> None:
    address, worker = in_vain
    code, said = end_of(worker)
    assert code == 3
    assert f"No Kafka answers at {address} yet; waiting up to 30 s." in said
    assert said.splitlines()[-1].startswith(f"clickahead: No Kafka answers PLAINTEXT at {address}")


def test_topics_that_do_not_fit_together_are_named_before_anything_is_processed(
    kafka: str, topic_prefix: str, tiny_model: Path
) -> None:
    settings = load(None, {"CLICKAHEAD_TOPICS__PREFIX": topic_prefix}, {})
    names = {**{role: settings.topic(role) for role in TOPICS}, "events": topic_prefix + "events"}
    changelog = topic_prefix + "app-state-changelog"

    async def prepare() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_topics([NewTopic(topic_prefix + "predictions", 3, 1)])
        await admin.close()
        await ensure_topics(Connection((kafka,)), names, changelog, 4)

    asyncio.run(prepare())
    code, said = end_of(clickahead(kafka, topic_prefix, tiny_model))
    assert code == 2
    assert f"{topic_prefix}predictions has 3 partitions and needs 4" in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (b"somebody", b"else's", "is not ClickAhead's. The topic belongs to another program"),
        (b"u" + bytes(16), b"\x63" + bytes(200), "state of format 99"),
        (b"p", b"\xc1", "is unreadable"),
    ],
)
def test_a_changelog_of_another_program_or_format_is_left_as_it_is(
    kafka: str, topic_prefix: str, tiny_model: Path, key: bytes, value: bytes, reason: str
) -> None:
    settings = load(None, {"CLICKAHEAD_TOPICS__PREFIX": topic_prefix}, {})
    names = {**{role: settings.topic(role) for role in TOPICS}, "events": topic_prefix + "events"}
    changelog = topic_prefix + "app-state-changelog"

    async def prepare() -> None:
        await ensure_topics(Connection((kafka,)), names, changelog, 1)
        producer = AIOKafkaProducer(bootstrap_servers=kafka)
        await producer.start()
        await producer.send_and_wait(changelog, value, key=key, partition=0)
        await producer.stop()

    asyncio.run(prepare())
    worker = clickahead(kafka, topic_prefix, tiny_model)
    code, said = end_of(worker)
    assert code == 2
    assert reason in said
