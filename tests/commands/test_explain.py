"""``clickahead explain`` on what a real worker published to a real Kafka."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from typer.testing import CliRunner, Result

from model.engine import open_engine
from stream_app.cli import app
from stream_app.commands.topics import ensured
from stream_app.core.partition_record import PARTITION_KEY
from stream_app.history import LEADING_MARKERS, decode_record
from stream_app.invocation import ExitCode, Invocation
from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.topic_admin import create_missing
from stream_app.kafka.topics import TopicSpec
from stream_app.settings import load
from tests.kafka.ledger import ROOT, read_all
from tests.tiny_model import tiny_spec, write_tiny_model

pytestmark = pytest.mark.kafka

EVENTS, PARTITIONS, SEED = 320, 2, 5
FEATURES = ("hour_sin", "hour_cos", "dwell", "interval")  # of the worker's own model
PROMOTED = ("burst", "share_cart")
MINUTE_MS = 60_000


class Shop(NamedTuple):
    """A stream that a worker has served, and all that is in its topics."""

    kafka: str
    environ: dict[str, str]
    folder: Path
    predictions: list[dict[str, Any]]
    anomalies: list[dict[str, Any]]
    inputs: dict[tuple[int, int], bytes | None]

    def explain(self, *arguments: str, **environ: str) -> Result:
        own = Invocation(self.environ | environ, self.folder)
        return CliRunner().invoke(app, ["explain", *arguments], obj=own)

    def told(self, *arguments: str) -> dict[str, Any]:
        result = self.explain(*arguments, "--json")
        assert result.exit_code == ExitCode.OK, result.output
        return dict(json.loads(result.stdout))


def clicks() -> Iterator[tuple[int, bytes]]:
    """Six users whose sessions end, with items that no model knows, late events and rubbish."""
    draw = random.Random(SEED)  # noqa: S311
    at_ms = int(time.time() * 1000) - 86_400_000
    for number in range(EVENTS):
        at_ms += draw.choice([0, 10, 900, 20_000, 40_000])
        user = draw.randrange(6)
        late_ms = draw.choice([0] * 15 + [30_000, 5_000_000])
        event = {
            "event_id": f"e{number}" if number % 5 else None,
            "user_id": f"user-{user}",
            "timestamp": at_ms - late_ms,
            "item_id": f"i{draw.randrange(36)}",
            "event_type": draw.choice(["view", "view", "cart", "purchase", "never heard of"]),
        }
        value = b"\x1b[2J" if draw.random() < 0.02 else json.dumps(event).encode()
        yield user % PARTITIONS, value


async def send(kafka: str, topic: str, part: Iterable[tuple[int, bytes]]) -> None:
    connection = Connection((kafka,))
    producer = AIOKafkaProducer(**connection.client(), enable_idempotence=True)
    async with opened(producer, connection):
        for number, (partition, value) in enumerate(part):
            await producer.send(topic, value, key=b"k", partition=partition)
            if number % 100 == 0:
                await producer.flush()


async def published(kafka: str, prefix: str, name: str) -> list[dict[str, Any]]:
    rows = await read_all(kafka, prefix + name, PARTITIONS)
    return [json.loads(row.value) for own in rows.values() for row in own]


def environment(kafka: str, prefix: str, model: Path) -> dict[str, str]:
    own = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka,
        "INPUT__TOPIC": f"{prefix}events",
        "TOPICS__PREFIX": prefix,
        "WORKER__APP_ID": f"{prefix}app",
        "WORKER__PARTITIONS": str(PARTITIONS),
        "WORKER__METRICS_PORT": "0",
        "WORKER__MAX_BATCH_EVENTS": "8",
        "WORKER__MODEL_DIR": str(model),
        # Many alerts, soon.
        "ALERTS__RATE": "0.4",
        "ALERTS__RESERVOIR_SIZE": "256",
    }
    return {f"CLICKAHEAD_{name}": value for name, value in own.items()}


@pytest.fixture(scope="module")
def shop(kafka: str, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The second third of the events is answered by a promoted model, the last by the first again,
    after a rollback."""
    prefix, folder = f"test-{uuid.uuid4().hex[:12]}.", tmp_path_factory.mktemp("explain")
    environ = environment(kafka, prefix, tiny_model)
    promoted = promotable(folder / "models")
    environ["CLICKAHEAD_WORKER__MODELS"] = str(promoted.parent)
    asyncio.run(ensured(load(None, environ), create=True))
    sent, thirds = list(clicks()), [0, EVENTS // 3, 2 * EVENTS // 3, EVENTS]
    with serving(environ, folder / "worker.log") as alive:
        for begin, end in pairwise(thirds):
            order = {thirds[1]: ["promote", promoted.name], thirds[2]: ["rollback"]}.get(begin)
            if order:
                own = Invocation(environ, folder)
                ordered = CliRunner().invoke(app, ["control", *order, "--wait"], obj=own)
                assert ordered.exit_code == ExitCode.OK, ordered.output
            asyncio.run(send(kafka, f"{prefix}events", sent[begin:end]))
            until_answered(kafka, prefix, end, alive)
    inputs = asyncio.run(read_all(kafka, f"{prefix}events", PARTITIONS))
    return Shop(
        kafka, environ, folder,
        asyncio.run(published(kafka, prefix, "predictions")),
        asyncio.run(published(kafka, prefix, "anomalies")),
        {(p, row.offset): row.value for p, rows in inputs.items() for row in rows},
    )  # fmt: skip


def promotable(models: Path) -> Path:
    """The folder of a model of another width and with other features than the worker's own."""
    made = write_tiny_model(models / "new", tiny_spec(PROMOTED, hidden_width=4), 3)
    return made.rename(models / open_engine(made).version)


@contextmanager
def serving(environ: Mapping[str, str], log: Path) -> Iterator[Callable[[], None]]:
    """A worker as a process, asked to end and then waited for; asserts that it is alive."""
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "stream_app", "worker"],
            cwd=ROOT, env={**os.environ, **environ}, stderr=file, stdout=file,
        ) as worker,
    ):  # fmt: skip
        try:

            def alive() -> None:
                assert worker.poll() is None, log.read_text()

            yield alive
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=60) == 0, log.read_text()
        finally:
            worker.kill()


def until_answered(kafka: str, prefix: str, events: int, alive: Callable[[], None]) -> None:
    """No event is repeated, so that each has its outcome; corrections come on top."""
    answered, deadline = -1, 0.0
    while answered < events:
        rows = [asyncio.run(published(kafka, prefix, n)) for n in ("predictions", "rejected")]
        before, answered = answered, sum(row.get("revision", 0) == 0 for r in rows for row in r)
        if answered > before:
            deadline = time.monotonic() + 60
        alive()
        assert time.monotonic() < deadline, f"{answered} of {events} answered"
        time.sleep(0.2)


def some(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    assert rows
    return random.Random(SEED).sample(rows, min(count, len(rows)))  # noqa: S311


def name_of(output: Mapping[str, Any]) -> str:
    source = output["source"]
    return f"{source['topic']}-{source['partition']}-{source['offset']}"


def test_any_prediction_is_made_again_to_the_byte(shop: Shop) -> None:
    first = [row for row in shop.predictions if row["revision"] == 0]
    for row in [some(first, 1)[0], first[0], first[-1]]:
        told = shop.told("--event", row["event_id"])
        assert told["identical"] is True
        assert told["differences"] == []
        assert row in told["published"]["predictions"]
        assert told["recomputed"] == told["published"]
        assert (told["user"], told["user_id"]) == (row["user"], None)
        here = [event for event in told["window"] if event["is_this"]]
        assert len(here) == 1
        assert here[0]["item"] == told["event"]["item_id"]
        assert told["event"]["at_ms"] == here[0]["at_ms"] == row["at_ms"]
        assert told["conditions"]["model"] == row["model"]
        assert told["rebuilt"]["records_played"] <= 8
        assert told["latency"]["received_ms"] > 0
        assert set(told["step"]["features"]) == set(
            FEATURES if row["model"] == first[0]["model"] else PROMOTED
        )


def test_what_is_around_a_promotion_and_a_rollback_is_made_again(shop: Shop) -> None:
    """The last output of each model before another answers, and the first ones of that one: of
    users whose memory the new model has made anew, and has not."""
    for partition in range(PARTITIONS):
        own = [row for row in shop.predictions if row["source"]["partition"] == partition]
        swaps = [n for n, (a, b) in enumerate(pairwise(own), 1) if a["model"] != b["model"]]
        assert len(swaps) == 2
        assert own[0]["model"] == own[-1]["model"] != own[swaps[0]]["model"]
        for at in swaps:
            for row in own[at - 1 : at + 2]:
                told = shop.told("--event", row["event_id"], "--revision", str(row["revision"]))
                assert told["identical"] is True
                assert row in told["published"]["predictions"]
                assert told["conditions"]["model"] == row["model"]


def test_alerts_of_a_promoted_model_are_made_again(shop: Shop) -> None:
    """Of any phase: it has taken over what the model before it opened."""
    own = shop.predictions[0]["model"]
    for row in some([row for row in shop.anomalies if row["model"] != own], 2):
        told = shop.told("--alert", row["alert_id"], "--phase", row["phase"])
        assert told["identical"] is True
        assert told["conditions"]["model"] == row["model"]


def test_corrections_are_made_again(shop: Shop) -> None:
    later = [row for row in shop.predictions if row["revision"] > 0]
    for row in some(later, 2):
        told = shop.told("--event", row["event_id"], "--revision", str(row["revision"]))
        assert told["identical"] is True
        assert row in told["published"]["predictions"]
        assert told["caused_by"] > row["source"]["offset"]


@pytest.mark.parametrize("phase", ["open", "raise", "close"])
def test_any_phase_of_an_alert_is_made_again(shop: Shop, phase: str) -> None:
    alerts = [row for row in shop.anomalies if row["phase"] == phase]
    kinds = {kind: [row for row in alerts if row["kind"] == kind] for kind in
             ({row["kind"] for row in alerts})}  # fmt: skip
    for rows in kinds.values():
        for row in some(rows, 1):
            told = shop.told("--alert", row["alert_id"], "--phase", phase)
            assert told["identical"] is True
            assert any(
                (one["alert_id"], one["phase"]) == (row["alert_id"], phase)
                for one in told["published"]["anomalies"]
            )
            assert told["conditions"]["calibration"][row["kind"]] >= 25


def test_a_rejected_record_is_judged_again_and_names_nobody(shop: Shop) -> None:
    partition, offset = next(place for place, value in shop.inputs.items() if value == b"\x1b[2J")
    source = f"{shop.environ['CLICKAHEAD_INPUT__TOPIC']}-{partition}-{offset}"
    told = shop.told("--source", source)
    assert told["identical"] is None
    (refused,) = told["recomputed"]["rejected"]
    assert set(refused) == {"reason", "detail"}
    assert (told["user"], told["window"]) == (None, [])
    assert "rejected" in shop.explain("--source", source).stdout


def test_the_page_is_plain_and_shows_the_person_only_when_asked(shop: Shop) -> None:
    row = next(row for row in shop.predictions if row["revision"] == 0)
    page = shop.explain("--source", name_of(row))
    assert page.exit_code == ExitCode.OK
    assert page.stdout.startswith("identical")
    assert all(line.isprintable() for line in page.stdout.split("\n"))
    assert "user-" not in page.stdout
    assert "user-" in shop.explain("--source", name_of(row), "--show-user").stdout


def test_other_settings_than_the_workers_are_a_difference(shop: Shop) -> None:
    row = next(row for row in shop.anomalies if (row["kind"], row["phase"]) == ("surprise", "open"))
    other = shop.explain("--alert", row["alert_id"], CLICKAHEAD_ALERTS__RATE="0.41")
    assert other.exit_code == ExitCode.FAILED
    assert other.stdout.startswith("DIFFERENT")
    assert "anomalies threshold: published 0.4," in other.stdout
    key = shop.explain("--alert", row["alert_id"], CLICKAHEAD_CORE__PSEUDONYM_KEY="x" * 20)
    assert key.exit_code == ExitCode.USAGE
    assert "core.pseudonym_key" in key.stderr


def test_a_model_that_is_not_at_hand_is_asked_for(shop: Shop, tmp_path: Path) -> None:
    row = shop.predictions[0]
    spec = tiny_spec(FEATURES)
    other = write_tiny_model(tmp_path / "other", spec, seed=9)
    environ = {"CLICKAHEAD_WORKER__MODEL_DIR": str(other)}
    refused = shop.explain("--event", row["event_id"], **environ)
    assert refused.exit_code == ExitCode.USAGE
    assert f"model {row['model']}, which is not at hand" in refused.stderr
    model = shop.environ["CLICKAHEAD_WORKER__MODEL_DIR"]
    assert shop.explain("--event", row["event_id"], "--model", model, **environ).exit_code == 0
    promoted = tmp_path / "promoted"
    shutil.copytree(model, promoted / row["model"])
    environ["CLICKAHEAD_WORKER__MODELS"] = str(promoted)
    assert shop.explain("--event", row["event_id"], **environ).exit_code == 0


def test_what_compaction_took_is_refused_and_never_guessed(shop: Shop) -> None:
    """The changelog as the cleaner leaves it: of each key below a point the last record only."""
    app_id = f"{shop.environ['CLICKAHEAD_TOPICS__PREFIX']}compacted"
    environ = {"CLICKAHEAD_WORKER__APP_ID": app_id}
    boundary = asyncio.run(compacted(shop, f"{app_id}-state-changelog"))
    rows = [row for row in shop.predictions
            if row["source"]["partition"] == 0 and row["revision"] == 0]  # fmt: skip
    by_offset = {row["source"]["offset"]: row for row in rows}
    old = [offset for offset in by_offset if offset < boundary]
    for offset in (min(old), max(old)):
        refused = shop.explain("--event", by_offset[offset]["event_id"], **environ)
        assert refused.exit_code == ExitCode.BEYOND_HORIZON, refused.output
    assert "topics.explain_horizon_ms" in refused.stderr
    assert "24 hours" in refused.stderr
    young = shop.explain("--event", by_offset[max(by_offset)]["event_id"], **environ)
    assert young.exit_code == ExitCode.OK, young.output


async def compacted(shop: Shop, topic: str) -> int:
    """Copy the changelog of partition 0, its first half compacted; where the input stood there."""
    source = f"{shop.environ['CLICKAHEAD_WORKER__APP_ID']}-state-changelog"
    rows = (await read_all(shop.kafka, source, PARTITIONS))[0]
    ends = [at for at, row in enumerate(rows) if row.key == PARTITION_KEY]
    half = ends[len(ends) // 2]
    last = {row.key: at for at, row in enumerate(rows[: half + 1])}
    kept = [row for at, row in enumerate(rows) if at > half or last[row.key] == at]
    connection = Connection((shop.kafka,))
    async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
        lag = {"cleanup.policy": "compact", "min.compaction.lag.ms": "86400000"}
        await create_missing(admin, [TopicSpec("", topic, PARTITIONS, lag)], 1)
    producer = AIOKafkaProducer(**connection.client(), transactional_id=topic)
    async with opened(producer, connection):
        # Compaction leaves the offsets of what it took empty; so does a transaction that failed.
        await producer.begin_transaction()
        for _ in range(2 * LEADING_MARKERS):
            await producer.send(topic, b"", key=b"", partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            for row in kept:
                await producer.send(
                    topic, row.value, key=row.key, partition=0, timestamp_ms=row.timestamp
                )
    # What the batch behind the boundary began to change is judged by the commit before it.
    return decode_record(rows[ends[len(ends) // 2 + 1]].value).next_offset


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name one output"),
        (["--event", "a", "--alert", "b"], "Name one output"),
        (["--alert", "b", "--phase", "up"], "no such phase"),
        (["--source", "nowhere"], "give topic-partition-offset"),
    ],
)
def test_mistakes_are_said_before_kafka_is_asked(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    refused = CliRunner().invoke(app, ["explain", *arguments], obj=Invocation({}, tmp_path))
    assert refused.exit_code == ExitCode.USAGE
    assert said in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--event", "\x1b[2J"],
        ["--alert", "none"],
        ["--source", "other-0-1"],
        ["--event", "e1", "--revision", "99"],
    ],
)
def test_what_is_not_there_is_said(shop: Shop, arguments: list[str]) -> None:
    refused = shop.explain(*arguments)
    assert refused.exit_code == ExitCode.USAGE
    assert refused.stderr.startswith("clickahead: ")
    assert "\x1b" not in refused.stderr
