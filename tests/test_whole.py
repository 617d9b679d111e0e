"""The whole worker on a real Kafka: killed in mid-stream, fed with rubbish, held against replay."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from model.engine import open_engine
from stream_app.commands.topics import ensured
from stream_app.demo.worker_process import WorkerProcess
from stream_app.files import FileEvent
from stream_app.kafka.connection import opened
from stream_app.kafka.topic_reader import extents, partitions_of, read_partition, reader
from stream_app.pace import at_rate
from stream_app.produce import produce, producer_of
from stream_app.replay import OUTPUTS, InputRecord, Replay
from stream_app.settings import Settings, load
from stream_app.simulate import SimulatorConfig, simulate
from stream_app.verify import audit
from tests.chaos.topics import drained
from tests.core.streams import compact
from tests.kafka.ledger import settled

SEED = 20
# A multiple of the everyday size, for proofs that take minutes.
SCALE = int(os.environ.get("CLICKAHEAD_TEST_SCALE", "1"))
SHOP = SimulatorConfig(users=400, items=40, categories=5, dirt=0.05, attack_every_events=500)
DRAIN_SECONDS = 60.0

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]


class Found(NamedTuple):
    """What a reader of committed records finds, by topic role and partition."""

    inputs: dict[int, list[InputRecord]]
    outputs: dict[tuple[str, int], list[tuple[bytes | None, bytes]]]
    state: dict[int, dict[bytes, bytes]]


def environ_of(kafka: str, prefix: str, model: Path) -> dict[str, str]:
    own = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka,
        "TOPICS__PREFIX": prefix,
        "INPUT__TOPIC": f"{prefix}events",
        "WORKER__APP_ID": prefix.strip("."),
        "WORKER__MODEL_DIR": str(model),
        "WORKER__INSTANCE_ID": "only",
        "WORKER__METRICS_PORT": "0",
        "WORKER__MAX_BATCH_EVENTS": "64",
        "ALERTS__RATE": "0.3",
        "ALERTS__RESERVOIR_SIZE": "512",
    }
    return {f"CLICKAHEAD_{name}": value for name, value in own.items()}


def clicks(count: int) -> Iterator[FileEvent]:
    shop = simulate(SHOP, random.Random(SEED))  # noqa: S311
    return (simulated.event for simulated in islice(shop, count))


def hostile(count: int) -> Iterator[FileEvent]:
    """Records that are no clicks, each wrong in its own way."""
    draw = random.Random(SEED)  # noqa: S311
    for number in range(count):
        user = b"u%d" % draw.randrange(50)
        kinds: list[bytes] = [
            draw.randbytes(draw.randrange(200)),
            b'{"user_id":"' + b"x" * 900_000 + b'"}',
            b"[" * 60_000,
            b'{"a":' * 12_000 + b"1" + b"}" * 12_000,
            b"\x91" * 60_000,
            b'{"user_id":"u","timestamp":NaN}',
            b'{"user_id":"u","timestamp":1e999}',
            b'{"user_id":["u"],"timestamp":1}',
            '{"user_id":"ü","timestamp":1}'.encode("utf-16"),
            '{"user_id":"ü","timestamp":1}'.encode("latin-1"),
            b'{"timestamp":1700000000000}',
            b"",
        ]
        # The megabyte is rare: it is the broker's time that it costs.
        kind = number % len(kinds) if number % 50 == 1 or number % len(kinds) != 1 else 0
        yield FileEvent(user, kinds[kind])


def mixed(clicks: list[FileEvent], rubbish: list[FileEvent]) -> list[FileEvent]:
    draw = random.Random(SEED)  # noqa: S311
    order = sorted(range(len(clicks) + len(rubbish)), key=lambda _: draw.random())
    places = set(order[: len(rubbish)])
    good, bad = iter(clicks), iter(rubbish)
    return [next(bad if at in places else good) for at in range(len(order))]


async def killed_in_mid_stream(
    settings: Settings, environ: dict[str, str], events: list[FileEvent], kills: int, log: Path
) -> None:
    """Send events at a rate while the worker is killed and started again; wait for the rest."""
    draw, connection = random.Random(SEED), settings.connection()  # noqa: S311
    whole_environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd())} | environ
    worker = WorkerProcess(whole_environ, log)
    try:
        async with opened(producer_of(connection.client()), connection) as producer:
            chunks = at_rate(events, len(events) / (3.5 * kills + 4), time.monotonic)
            sending = asyncio.create_task(produce(chunks, producer, settings.topic("events")))
            for _ in range(kills):
                await asyncio.sleep(draw.uniform(2.0, 4.5))
                os.kill(worker.pid, signal.SIGKILL)
                worker.stop()
                worker = WorkerProcess(whole_environ, log)
            sent = await sending
        assert sent.total == len(events)
        assert not await drained(settings, DRAIN_SECONDS)
        worker.check()
    finally:
        worker.stop()


async def found_in(settings: Settings) -> Found:
    """Read everything that is committed."""
    found = Found({}, {}, {})
    roles = {settings.topic(role): role for role in ("events", *OUTPUTS)}
    roles[f"{settings.worker.app_id}-state-changelog"] = "state"
    async with reader(settings.connection()) as consumer:
        for topic, role in roles.items():
            places = await partitions_of(consumer, topic)
            await settled(settings.kafka.bootstrap_servers[0], topic, len(places))
            whole = await extents(consumer, places)
            for place in places:
                chunks = read_partition(consumer, place, whole[place])
                rows = [row async for chunk in chunks for row in chunk]
                note(found, role, place.partition, rows)
    return found


def note(found: Found, role: str, partition: int, rows: list[Any]) -> None:
    if role == "events":
        found.inputs[partition] = [
            InputRecord(partition, row.offset, row.timestamp, row.key, row.value) for row in rows
        ]
    elif role == "state":
        state: dict[bytes, bytes] = {}
        compact(state, [(row.key, row.value) for row in rows])
        found.state[partition] = state
    else:
        found.outputs[role, partition] = [(row.key, row.value) for row in rows]


def replayed(settings: Settings, model: Path, inputs: dict[int, list[InputRecord]]) -> Found:
    """What an undisturbed run of the core makes of the same input."""
    replay = Replay(settings.topic("events"), open_engine(model), settings.core_config())
    wanted = Found(inputs, {}, {})
    for partition, records in inputs.items():
        outputs = replay.feed(records)
        for role, made in outputs.items():
            wanted.outputs[role, partition] = [(record.key, record.value) for record in made]
        state: dict[bytes, bytes] = {}
        compact(state, replay.stores[partition].take_changes())
        wanted.state[partition] = state
    assert replay.totals.is_conserved
    return wanted


@pytest.mark.parametrize("delivery", ["exactly_once"])
def test_kills_and_rubbish_leave_what_an_undisturbed_replay_makes(
    delivery: str, kafka: str, topic_prefix: str, tiny_model: Path, tmp_path: Path
) -> None:
    environ = environ_of(kafka, topic_prefix, tiny_model)
    environ["CLICKAHEAD_WORKER__DELIVERY"] = delivery
    settings = load(None, environ)
    events = mixed(list(clicks(8_000 * SCALE)), list(hostile(1_000 * SCALE)))
    asyncio.run(ensured(settings, create=True))
    log = tmp_path / "worker.log"
    asyncio.run(killed_in_mid_stream(settings, environ, events, 5, log))

    found = asyncio.run(found_in(settings))
    books = asyncio.run(audit(settings.connection(), *(settings.topic(r) for r in AUDITED)))
    assert books.is_whole, books.sentence()
    assert books.records == len(events)
    assert books.rejected >= 1_000 * SCALE
    wanted = replayed(settings, tiny_model, found.inputs)
    assert list(chain(*found.outputs.values()))
    for place, made in wanted.outputs.items():
        assert found.outputs[place] == made, place
    assert found.outputs["anomalies", 0], "a stream without an alert proves nothing of alerts"
    for partition, state in wanted.state.items():
        assert found.state[partition] == state, partition


AUDITED = ("events", "predictions", "rejected")
