"""The whole worker, steered while clicks flow, on a real Kafka; `replay` follows and agrees."""

import asyncio
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from model.engine import open_engine
from stream_app.commands.replay import engines_for, ledger_of
from stream_app.commands.topics import ensured
from stream_app.core.control import key_of
from stream_app.core.events import Control
from stream_app.core.partition_record import PartitionRecord
from stream_app.core.privacy import pseudonymiser
from stream_app.core.store import PartitionStore
from stream_app.demo.worker_process import WorkerProcess
from stream_app.files import FileEvent
from stream_app.helm import guard_of, overload_of
from stream_app.kafka.connection import opened
from stream_app.kafka.control_topic import applied, reports, write_order
from stream_app.kafka.shell_config import changelog_of
from stream_app.kafka.side_inputs import SideRecord
from stream_app.kafka.topic_reader import extents, partitions_of, read_partition, reader
from stream_app.orders import CONTROL, ITEMS
from stream_app.pace import at_rate
from stream_app.produce import produce, producer_of
from stream_app.replay import OUTPUTS, InputRecord, Replay
from stream_app.schedule import Course, Kept, schedule_of
from stream_app.settings import Settings, load
from stream_app.simulate import SimulatorConfig, simulate
from tests.kafka.ledger import settled
from tests.tiny_model import tiny_spec, write_tiny_model

SHOP = SimulatorConfig(users=300, items=30, categories=5, attack_every_events=300)
PARTITIONS = 2
FIRST = 8
"""Events that are sent until a worker serves."""
LAST = 100
"""Events that are sent once everything else is done."""

Rows = dict[int, list[Any]]
"""Records as aiokafka gives them, by partition."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder of three models, and their versions. The second has a wider memory; the third names
    a single item, so that its recall is a fraction of the others'."""
    root = tmp_path_factory.mktemp("models")
    versions = []
    for seed, width, top_k in ((0, 8, 20), (1, 12, 20), (2, 8, 1)):
        spec = tiny_spec(features=("hour_sin", "interval"), hidden_width=width, top_k=top_k)
        made = write_tiny_model(tmp_path_factory.mktemp("made"), spec, seed)
        versions.append(open_engine(made).version)
        shutil.copytree(made, root / versions[-1])
    return root, versions


class Stand:
    """Settings, topics and orders of one installation."""

    def __init__(
        self, kafka: str, prefix: str, models: tuple[Path, list[str]], **more: str
    ) -> None:
        self.root, self.versions = models
        own = {
            "KAFKA__BOOTSTRAP_SERVERS": kafka,
            "TOPICS__PREFIX": prefix,
            "INPUT__TOPIC": f"{prefix}events",
            "WORKER__APP_ID": prefix.strip("."),
            "WORKER__MODEL_DIR": str(self.root / self.versions[0]),
            "WORKER__MODELS": str(self.root),
            "WORKER__PARTITIONS": str(PARTITIONS),
            "WORKER__INSTANCE_ID": "only",
            "WORKER__METRICS_PORT": "0",
            "WORKER__MAX_BATCH_EVENTS": "32",
            "ALERTS__RATE": "0.3",
            "ALERTS__RESERVOIR_SIZE": "512",
            **more,
        }
        self.environ = {f"CLICKAHEAD_{name}": value for name, value in own.items()}
        self.settings: Settings = load(None, self.environ)
        self.pseudonym = pseudonymiser(self.settings.core_config().pseudonym_key)
        asyncio.run(ensured(self.settings, create=True))

    @contextmanager
    def worker(self, log: Path) -> Iterator[WorkerProcess]:
        whole = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd())} | self.environ
        worker = WorkerProcess(whole, log)
        try:
            yield worker
        finally:
            worker.stop()

    async def order(self, name: Any, **fields: Any) -> int:
        control = Control(order=name, **fields)
        connection, topic = self.settings.connection(), self.settings.topic(CONTROL)
        return await write_order(
            connection, topic, key_of(control, self.pseudonym), msgspec.json.encode(control)
        )

    async def ordered(self, name: Any, **fields: Any) -> Mapping[int, PartitionRecord]:
        """Write an order and wait until every partition has it."""
        async with self.reports() as found:
            offset = await self.order(name, **fields)
            assert await applied(found, offset, 30.0)
            return dict(found.newest)

    def reports(self) -> Any:
        return reports(self.settings.connection(), changelog_of(self.settings.worker.app_id))

    async def send(self, events: list[FileEvent], seconds: float) -> None:
        connection = self.settings.connection()
        async with opened(producer_of(connection.client()), connection) as producer:
            chunks = at_rate(events, len(events) / seconds if seconds else 1e9, time.monotonic)
            await produce(chunks, producer, self.settings.topic("events"))

    async def done(self) -> None:
        """Until the state goes up to the end of the input and nothing is due any more."""
        deadline = time.monotonic() + 60
        async with reader(self.settings.connection()) as consumer:
            places = await partitions_of(consumer, self.settings.topic("events"))
            ends = {p.partition: e.end for p, e in (await extents(consumer, places)).items()}
        async with self.reports() as found:
            while any(
                found.newest.get(p) is None
                or found.newest[p].next_offset < end
                or found.newest[p].erased_as_of < found.newest[p].as_of
                for p, end in ends.items()
            ):
                assert time.monotonic() < deadline, found.newest
                await found.follow()

    async def rows(self, topic: str) -> Rows:
        found: Rows = {}
        async with reader(self.settings.connection()) as consumer:
            places = await partitions_of(consumer, topic)
            await settled(self.settings.kafka.bootstrap_servers[0], topic, len(places))
            whole = await extents(consumer, places)
            for place in places:
                chunks = read_partition(consumer, place, whole[place])
                found[place.partition] = [row async for chunk in chunks for row in chunk]
        return found

    async def found(self) -> dict[str, Rows]:
        roles = {role: self.settings.topic(role) for role in ("events", CONTROL, ITEMS, *OUTPUTS)}
        roles["state"] = changelog_of(self.settings.worker.app_id)
        return {role: await self.rows(topic) for role, topic in roles.items()}


def clicks(count: int, seed: int = 5) -> list[FileEvent]:
    shop = simulate(SHOP, random.Random(seed))  # noqa: S311
    return [simulated.event for simulated in islice(shop, count)]


def followed(stand: Stand, found: dict[str, Rows]) -> Replay:
    """Check that a replay which follows the changelog makes the same outputs and state."""
    settings = stand.settings
    kept = [Kept(p, row.key, row.value) for p, rows in found["state"].items() for row in rows]
    schedule = schedule_of(kept)
    ledger = ledger_of(settings, None, None)
    for role in (CONTROL, ITEMS):
        ledger.take(role, [SideRecord(r.offset, r.key, r.value) for r in found[role][0]])
    own = open_engine(stand.root / stand.versions[0])
    course = Course(schedule, ledger, engines_for(schedule, own, stand.root))
    replay = Replay(settings.topic("events"), own, settings.core_config(), course)
    records = [
        InputRecord(p, row.offset, row.timestamp, row.key, row.value)
        for p, rows in found["events"].items()
        for row in rows
    ]
    made = {name: [*rows] for name, rows in replay.feed(records).items()}
    for name, rows in replay.finish().items():
        made[name] += rows
    for name in OUTPUTS:
        wanted = sorted((record.key, record.value) for record in made[name])
        seen = sorted((row.key, row.value) for rows in found[name].values() for row in rows)
        assert seen == wanted, name
    for partition, rows in found["state"].items():
        # A user whom no event touched since a change of models has no memory yet, and their row is
        # laid out anew when it is read.
        store = PartitionStore(partition, own, settings.core_config())
        store.restore([(row.key, row.value) for row in rows])
        store.recovered()
        again = replay.stores[partition]
        again.take_changes()  # completes the record
        assert store.record == again.record
        store.serve(replay.engines[store.record.live])
        mine, theirs = whole(store), whole(again)
        assert mine.keys() == theirs.keys()
        waiting = {
            b"u" + pseudonym for pseudonym in again.slots if again.is_stale(again.slots[pseudonym])
        }
        assert [key for key in mine if mine[key] != theirs[key] and key not in waiting] == []
    assert replay.totals.is_conserved
    return replay


def whole(store: PartitionStore) -> dict[bytes, bytes | None]:
    return {key: value for part in store.records(1_000) for key, value in part}


def predictions(found: dict[str, Rows]) -> dict[int, list[dict[str, Any]]]:
    return {p: [json.loads(row.value) for row in rows] for p, rows in found["predictions"].items()}


def test_settings_reach_overload_and_guard() -> None:
    settings = load(
        None, {"CLICKAHEAD_OVERLOAD__LAG_SECONDS": "0", "CLICKAHEAD_GUARD__ENABLED": "0"}
    )
    assert overload_of(settings).lag_ms is None
    assert not guard_of(settings).enabled
    assert overload_of(load(None, {})).lag_ms == 30_000


@pytest.mark.kafka
def test_orders_while_clicks_flow_lose_nothing_and_are_followed_by_a_replay(
    kafka: str, topic_prefix: str, models: tuple[Path, list[str]], tmp_path: Path
) -> None:
    stand = Stand(kafka, topic_prefix, models)
    events = clicks(1_200)
    a, b, c = stand.versions

    async def scenario(worker: WorkerProcess) -> None:
        sending = asyncio.create_task(stand.send(events, 8.0))
        await asyncio.sleep(1.5)
        records = await stand.ordered("promote", model=b)
        assert {record.live for record in records.values()} == {b}
        await stand.ordered("block_item", item_id="i1")
        await stand.ordered("shadow", model=c)
        await stand.ordered("erase_user", user_id=json.loads(events[0].value)["user_id"])
        await stand.ordered("promote", model="gru-0000000000000000")
        # A kill between an order and its effect.
        await stand.order("roll_back", model=a)
        os.kill(worker.pid, signal.SIGKILL)
        worker.stop()
        with stand.worker(tmp_path / "second.log"):
            await sending
            await stand.done()
            await stand.send(clicks(LAST, seed=11), 0)
            await stand.done()

    with stand.worker(tmp_path / "first.log") as worker:
        asyncio.run(stand_ready(stand, worker))
        asyncio.run(scenario(worker))
    found = asyncio.run(stand.found())
    replay = followed(stand, found)
    assert replay.totals.records == len(events) + FIRST + LAST
    for made in predictions(found).values():
        served = [prediction["model"] for prediction in made]
        turns = [served[0], *(n for m, n in pairwise(served) if m != n)]
        assert turns == [a, b, a]
        # The erased user comes back and is new; nobody is shown the blocked item.
        blocked = [p for p in made if p["as_of"] >= 2]
        assert blocked
        assert not any(item["item_id"] == "i1" for p in blocked for item in p["items"])


@pytest.mark.kafka
def test_overload_degrades_is_flagged_recovers_and_is_followed(
    kafka: str, topic_prefix: str, models: tuple[Path, list[str]], tmp_path: Path
) -> None:
    # Any lag is too much, and a second without is enough.
    overload = {"OVERLOAD__LAG_SECONDS": "0.001", "OVERLOAD__RECOVER_SECONDS": "0.3"}
    stand = Stand(kafka, topic_prefix, models, **overload)

    async def scenario() -> None:
        await stand.send(clicks(1_500), 0)
        await stand.done()
        deadline = time.monotonic() + 30
        async with stand.reports() as found:
            while any(record.degraded for record in found.newest.values()):
                assert time.monotonic() < deadline
                await found.follow()

    with stand.worker(tmp_path / "worker.log") as worker:
        asyncio.run(stand_ready(stand, worker))
        asyncio.run(scenario())
    found = asyncio.run(stand.found())
    followed(stand, found)
    levels = {p["degraded"] for made in predictions(found).values() for p in made}
    assert 3 in levels
    assert 0 in levels


async def stand_ready(stand: Stand, worker: WorkerProcess) -> None:
    """Until the worker has taken something in."""
    await stand.send(clicks(FIRST, seed=9), 0)
    deadline = time.monotonic() + 60
    while True:
        worker.check()
        try:
            async with stand.reports() as found:
                if found.newest:
                    return
        except ValueError:
            pass  # the worker has not made its changelog yet
        assert time.monotonic() < deadline, "the worker is not ready in time"
        await asyncio.sleep(0.1)


@pytest.mark.kafka
def test_a_model_that_serves_worse_is_taken_back_by_the_guard(
    kafka: str, topic_prefix: str, models: tuple[Path, list[str]], tmp_path: Path
) -> None:
    guard = {
        "GUARD__LATENCY_RATIO": "1000", "GUARD__MIN_EVENTS": "100", "GUARD__SETTLE_EVENTS": "0",
    }  # fmt: skip
    stand = Stand(kafka, topic_prefix, models, **guard)
    a, _, c = stand.versions

    async def scenario() -> None:
        await stand.send(clicks(1_500), 0)
        await stand.done()
        await stand.ordered("promote", model=c)
        await stand.send(clicks(3_000, seed=6), 0)
        deadline = time.monotonic() + 60
        async with stand.reports() as found:
            while not all(record.live == a for record in found.newest.values()):
                assert time.monotonic() < deadline
                await found.follow()
        await stand.done()

    with stand.worker(tmp_path / "worker.log") as worker:
        asyncio.run(stand_ready(stand, worker))
        asyncio.run(scenario())
    found = asyncio.run(stand.found())
    orders = [json.loads(row.value) for row in found[CONTROL][0]]
    assert [(order["order"], order["model"]) for order in orders] == [
        ("promote", c), ("roll_back", a),
    ]  # fmt: skip
    followed(stand, found)
    assert "The guard takes" in (tmp_path / "worker.log").read_text()
