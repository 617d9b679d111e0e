"""The worker, killed five times in mid-stream, against `replay`, which nobody disturbs: byte for
byte the same predictions, anomalies, rejections and state."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from model.engine import OnnxEngine
from stream_app.core.config import CoreConfig
from stream_app.core.events import TOPICS
from stream_app.kafka.connection import Connection
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.replay import InputRecord, Replay
from stream_app.settings import load
from tests.kafka.ledger import ROOT, read, read_all

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SEED = 11
KILLS = 5
EVENTS = 4_500
PER_SECOND = 450
PARTITIONS = 4
DAY_MS = 86_400_000
HOSTILE = (b"\xff\x00", b"[" * 50_000, b'{"user_id": NaN}', b"x" * 600_000, b"", None)


def clicks(now_ms: int) -> Iterator[tuple[int, bytes | None]]:
    """A day of twelve users with long pauses, repeated events, late ones and rubbish."""
    draw = random.Random(SEED)  # noqa: S311
    at_ms = now_ms - DAY_MS
    last: dict[int, bytes] = {}
    for number in range(EVENTS):
        at_ms += draw.choice([0, 10, 900, 5_000, 20_000])
        user = draw.randrange(12)
        if draw.random() < 0.02:
            yield user % PARTITIONS, draw.choice(HOSTILE)
            continue
        if user in last and draw.random() < 0.04:
            yield user % PARTITIONS, last[user]
            continue
        late_ms = draw.choice([0] * 30 + [1_000, 400_000, 5_000_000])
        event = {
            "event_id": f"e{number}",
            "user_id": f"u{user}",
            "timestamp": at_ms - late_ms,
            "item_id": f"i{draw.randrange(40)}",
            "event_type": draw.choice(["view", "view", "cart", "purchase", "never heard of"]),
        }
        last[user] = json.dumps(event).encode()
        yield user % PARTITIONS, last[user]


async def send(kafka: str, topic: str) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, enable_idempotence=True, max_request_size=2_000_000
    )
    await producer.start()
    started = time.monotonic()
    for number, (partition, value) in enumerate(clicks(int(time.time() * 1000))):
        await producer.send(topic, value, key=b"k", partition=partition)
        if number % 20 == 0:
            await asyncio.sleep(max(0, started + number / PER_SECOND - time.monotonic()))
    await producer.stop()


async def answered(kafka: str, prefix: str) -> int:
    """Outputs that a reader of committed records finds."""
    counts = [
        sum(map(len, (await read(kafka, prefix + name, PARTITIONS)).values()))
        for name in ("predictions", "rejected")
    ]
    return sum(counts)


def environment(kafka: str, prefix: str) -> dict[str, str]:
    own = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka,
        "INPUT__TOPIC": prefix + "events",
        "TOPICS__PREFIX": prefix,
        "WORKER__APP_ID": prefix + "app",
        "WORKER__INSTANCE_ID": "w1",
        "WORKER__SESSION_TIMEOUT_MS": "30000",
        "WORKER__METRICS_PORT": "0",
        # Many alerts, soon.
        "ALERTS__RATE": "0.4",
        "ALERTS__RESERVOIR_SIZE": "256",
        "WORKER__MAX_BATCH_EVENTS": "8",
    }
    return {f"CLICKAHEAD_{name}": value for name, value in own.items()}


def replayed(
    engine: OnnxEngine, config: CoreConfig, topic: str, rows: dict[int, list[Any]]
) -> tuple[dict[str, dict[int, list[Any]]], dict[int, dict[bytes, bytes]]]:
    """Outputs by topic and partition, and state by partition."""
    replay = Replay(topic, engine, config)
    outputs: dict[str, dict[int, list[Any]]] = {}
    for partition, records in rows.items():
        columns = [
            InputRecord(partition, row.offset, row.timestamp, row.key, row.value, row.headers)
            for row in records
        ]
        for name, made in replay.feed(columns).items():
            outputs.setdefault(name, {})[partition] = [tuple(record[1:]) for record in made]
    assert replay.totals.is_conserved
    assert replay.totals.outcomes["duplicate"] > 30
    assert replay.totals.outcomes["rejected"] > 50
    return outputs, {p: folded(store.take_changes()) for p, store in replay.stores.items()}


def folded(changes: list[tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    """What compaction leaves of a changelog."""
    return {key: value for key, value in dict(changes).items() if value is not None}


def test_a_worker_killed_five_times_publishes_and_keeps_what_replay_does(
    kafka: str, topic_prefix: str, tiny_model: Path, tiny_engine: OnnxEngine, tmp_path: Path
) -> None:
    environ = environment(kafka, topic_prefix)
    settings = load(None, environ, {})
    names = {role: settings.topic(role) for role in TOPICS}
    changelog = f"{topic_prefix}app-state-changelog"
    log = (tmp_path / "worker.log").open("ab")

    def worker() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "stream_app", "worker", "--model", str(tiny_model)]
        return subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, env={**os.environ, **environ}, stderr=log, stdout=log
        )

    async def scenario() -> None:
        await ensure_topics(Connection((kafka,)), names, changelog, PARTITIONS)
        sending = asyncio.create_task(send(kafka, names["events"]))
        draw = random.Random(SEED)  # noqa: S311
        for _ in range(KILLS):
            victim, before = worker(), await answered(kafka, topic_prefix)
            while await answered(kafka, topic_prefix) == before:
                assert victim.poll() is None, (tmp_path / "worker.log").read_text()
            await asyncio.sleep(draw.uniform(0, 0.5))
            victim.kill()
            victim.wait()
        await sending
        last = worker()
        rows = await read(kafka, names["events"], PARTITIONS)
        assert sum(map(len, rows.values())) == EVENTS
        config = settings.core_config()
        expected, state = replayed(tiny_engine, config, names["events"], rows)
        size = sum(
            len(made) for name in ("predictions", "rejected") for made in expected[name].values()
        )
        deadline = time.monotonic() + 60
        while await answered(kafka, topic_prefix) < size:
            assert time.monotonic() < deadline, "the last worker did not catch up"
            await asyncio.sleep(0.2)
        # Whatever is there too much would come now.
        await asyncio.sleep(0.5)
        last.terminate()
        assert last.wait() == 0
        for name, by_partition in expected.items():
            found = await read_all(kafka, topic_prefix + name, PARTITIONS)
            for partition, made in by_partition.items():
                assert [(row.key, row.value) for row in found[partition]] == made, name
        assert sum(map(len, expected["anomalies"].values())) > 0
        kept = await read_all(kafka, changelog, PARTITIONS)
        for partition, records in kept.items():
            assert folded([(row.key, row.value) for row in records]) == state[partition]

    with log:
        asyncio.run(scenario())
    assert "CRITICAL" not in (tmp_path / "worker.log").read_text()
