import asyncio
import gzip
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

ROOT = Path(__file__).parents[2]
CLICKAHEAD = [sys.executable, "-c", "from stream_app.cli import main; main()"]


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [*CLICKAHEAD, "simulate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )


def test_a_seed_writes_the_same_bytes_and_the_labels_elsewhere(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        out, labels = tmp_path / f"{name}.jsonl.gz", tmp_path / f"{name}.labels"
        done = simulate("--out", out, "--labels", labels, "--events", 6_000, "--seed", 7)
        assert done.returncode == 0, done.stderr
        digests.add(hashlib.sha256(out.read_bytes() + labels.read_bytes()).hexdigest())
    assert len(digests) == 1
    with gzip.open(tmp_path / "a.jsonl.gz") as file:
        ids = {json.loads(line)["event_id"] for line in file}
    labelled = [json.loads(line) for line in (tmp_path / "a.labels").read_text().splitlines()]
    assert {label["event_id"] for label in labelled} <= ids
    assert f"wrote 6000 events to {out.parent / 'b.jsonl.gz'}; {len(labelled)} of them" in (
        done.stdout
    )


def test_hours_and_start_are_of_event_time(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    start = ["--start", "2024-02-29T12:00:00Z"]
    assert simulate("--out", out, "--hours", 0.5, "--attacks", "none", *start).returncode == 0
    times = [json.loads(line)["timestamp"] for line in out.read_text().splitlines()]
    first_ms = 1_709_208_000_000
    assert first_ms <= min(times) < first_ms + 60_000
    assert first_ms + 1_740_000 < max(times) < first_ms + 1_800_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give --out FILE or --topic NAME"),
        (["--out", "a", "--topic", "b"], "Give --out FILE or --topic NAME"),
        (["--out", "a", "--labels-topic", "b"], "--labels-topic with --topic"),
        (["--out", "a", "--events", "1", "--hours", "1"], "--events or --hours"),
        (["--topic", "a", "--start", "2024-01-01"], "--start has no use with --topic"),
        (["--out", "a", "--start", "soon"], "--start soon is no time"),
        (["--out", "a", "--attacks", "flood"], "no attack 'flood'; there are crawler"),
        (["--out", "a", "--rate", "1000"], "take more users"),
        (["--out", "none/a"], "cannot be written: No such file or directory"),
        (["--out", "a", "--catalogue", "none/a"], "cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    placed = [str(tmp_path / a) if a in ("a", "none/a") else a for a in arguments]
    done = simulate(*placed)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.kafka
def test_to_kafka_event_time_is_the_clock_and_labels_have_a_topic_of_their_own(
    kafka: str, topic_prefix: str
) -> None:
    names = [topic_prefix + name for name in ("events", "labels")]

    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, 1, 1) for name in names])
        finally:
            await admin.close()

    async def records() -> list[list[Any]]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
        await consumer.start()
        try:
            found = []
            for name in names:
                place = TopicPartition(name, 0)
                consumer.assign([place])
                end = (await consumer.end_offsets([place]))[place]
                found.append([await consumer.getone() for _ in range(end)])
            return found
        finally:
            await consumer.stop()

    asyncio.run(create())
    before_ms = time.time_ns() // 1_000_000
    done = simulate(
        *("--topic", names[0], "--labels-topic", names[1], "--bootstrap-servers", kafka),
        *("--events", 600, "--rate", 200, "--users", 20_000, "--attack-every", 100),
    )
    assert done.returncode == 0, done.stderr
    sent, labels = asyncio.run(records())
    assert len(sent) == 600
    rows = [json.loads(record.value) for record in sent]
    assert all(before_ms <= row["timestamp"] for row in rows)
    # The broker's time of arrival follows the event's own.
    assert all(r.timestamp - row["timestamp"] >= -5 for r, row in zip(sent, rows, strict=True))
    found = [json.loads(record.value) for record in labels]
    assert found
    assert {label["event_id"] for label in found} <= {row["event_id"] for row in rows}
