"""What went into Kafka and what a reader finds there, compared to the last record."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_app.app import create_application
from stream_app.core.batch import EventBatch
from stream_app.kafka.application import Application
from stream_app.kafka.contract import Core
from stream_app.kafka.observer import Done, Progress, Restored, Unobserved
from stream_app.kafka.shell_config import ShellConfig
from tests.kafka.counting import CORE, PARTITION, CountingStore, config, play

ROOT = Path(__file__).parents[2]
TOPICS = ("in", "predictions", "anomalies", "rejected")

Event = tuple[int, bytes | None]  # partition, key


class Verdict(NamedTuple):
    """All zero and true: exactly once."""

    missing: int  # inputs without an outcome
    doubled: int  # outcomes of an input beyond the first
    wrong: int  # outputs that an undisturbed run does not have in that place
    strange: int  # outputs that an undisturbed run does not have at all, byte for byte
    state: bool  # the changelog folds to the state of an undisturbed run


EXACT = Verdict(0, 0, 0, 0, True)


def events(count: int, partitions: int = 4, keys: int = 200, seed: int = 1) -> list[Event]:
    """A key belongs to one partition; one record in 50 has none."""
    draw = random.Random(seed)  # noqa: S311
    found: list[Event] = []
    for _ in range(count):
        user = draw.randrange(keys)
        key = None if draw.random() < 0.02 else b"u%d" % user
        found.append((user % partitions, key))
    return found


async def make_topics(
    bootstrap: str, app_id: str, partitions: int = 4, names: Sequence[str] = TOPICS
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(f"{app_id}.{name}", partitions, 1) for name in names])
    finally:
        await admin.close()


async def produce(
    bootstrap: str, app_id: str, batch: Sequence[Event], per_second: float | None = None
) -> None:
    """Send to the input topic, in order."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=2, enable_idempotence=True)
    await producer.start()
    try:
        started = time.monotonic()
        for number, (partition, key) in enumerate(batch):
            await producer.send(f"{app_id}.in", b"click", key=key, partition=partition)
            if per_second and number % 20 == 0:
                await asyncio.sleep(max(0, started + number / per_second - time.monotonic()))
    finally:
        await producer.stop()


async def read(
    bootstrap: str, topic: str, partitions: int = 4, isolation: str = "read_committed"
) -> dict[int, list[Any]]:
    """Every record that is there now, by partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level=isolation, group_id=None,
        auto_offset_reset="earliest", enable_auto_commit=False,
    )  # fmt: skip
    await consumer.start()
    tps = [TopicPartition(topic, partition) for partition in range(partitions)]
    try:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        found: dict[int, list[Any]] = {partition: [] for partition in range(partitions)}
        for tp in tps:
            while await consumer.position(tp) < ends[tp]:
                for rows in (await consumer.getmany(tp, timeout_ms=100)).values():
                    found[tp.partition] += rows
        return found
    finally:
        await consumer.stop()


async def settled(bootstrap: str, topic: str, partitions: int) -> None:
    """Wait until no transaction is open any more: a commit is answered before its markers are
    written, and until then a reader does not see it.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    stable = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, isolation_level="read_committed"
    )
    await asyncio.gather(consumer.start(), stable.start())
    tps = [TopicPartition(topic, partition) for partition in range(partitions)]
    deadline = time.monotonic() + 10
    try:
        while await consumer.end_offsets(tps) != await stable.end_offsets(tps):
            assert time.monotonic() < deadline, f"a transaction stays open in {topic}"
            await asyncio.sleep(0.01)
    finally:
        await asyncio.gather(consumer.stop(), stable.stop())


async def read_all(bootstrap: str, topic: str, partitions: int = 4) -> dict[int, list[Any]]:
    """Every committed record, once no transaction is open any more."""
    await settled(bootstrap, topic, partitions)
    return await read(bootstrap, topic, partitions)


def undisturbed(
    batch: Sequence[Event], partition: int
) -> tuple[dict[str, list[Any]], CountingStore]:
    """What one worker that nobody disturbs makes of a partition."""
    keys = [key for place, key in batch if place == partition]
    store = CountingStore(partition)
    size = len(keys)
    columns = EventBatch(
        topic="", partition=partition, offsets=range(size), timestamps_ms=[-1] * size, keys=keys,
        values=[b"click"] * size, headers=[()] * size, next_offset=size,
    )  # fmt: skip
    outputs = play(columns, store, lambda stage: None)
    named = {name: [tuple(r[1:]) for r in getattr(outputs, name)] for name in TOPICS[1:]}
    return named, store


async def verify(
    bootstrap: str, app_id: str, batch: Sequence[Event], partitions: int = 4
) -> Verdict:
    """Compare what a read_committed reader finds with an undisturbed run."""
    missing = doubled = wrong = strange = 0
    same_state = True
    found = {name: await read_all(bootstrap, f"{app_id}.{name}", partitions) for name in TOPICS[1:]}
    changes = await read_all(bootstrap, config(bootstrap, app_id).changelog, partitions)
    for partition in range(partitions):
        expected, store = undisturbed(batch, partition)
        outcomes: Counter[int] = Counter()
        for name, records in expected.items():
            seen = [(row.key, row.value) for row in found[name][partition]]
            wrong += sum(a != b for a, b in zip(seen, records, strict=False))
            wrong += abs(len(seen) - len(records))
            strange += len(set(seen) - set(records))
            if name != "anomalies":
                outcomes.update(json.loads(value)[1] for _, value in seen)
        doubled += sum(count - 1 for count in outcomes.values())
        missing += store.next_offset - len(outcomes)
        restored = CountingStore(partition)
        restored.restore((row.key, row.value) for row in changes[partition])
        same_state &= (restored.counts, restored.next_offset) == (store.counts, store.next_offset)
    return Verdict(missing, doubled, wrong, strange, same_state)


async def processed(bootstrap: str, app_id: str, partitions: int = 4) -> int:
    """Input records whose results are committed, by the partition records."""
    changes = await read(bootstrap, config(bootstrap, app_id).changelog, partitions)
    return sum(
        max((int(row.value) for row in rows if row.key == PARTITION), default=0)
        for rows in changes.values()
    )


class WorkerProcess:
    """A counting worker in a process of its own."""

    def __init__(self, bootstrap: str, app_id: str, *arguments: str, **shell: object) -> None:
        self.started = time.monotonic()
        # Not a pipe: a worker that nobody reads from would wait for ever once it is full.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "tests.kafka.counting", bootstrap, app_id,
             "--shell", json.dumps(shell), *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip

    def ready(self) -> Mapping[str, Any]:
        """Wait until it serves; what it says of its recovery."""
        return self.says("ready")

    def says(self, what: str) -> Mapping[str, Any]:
        """Wait until it says ``recovering`` or ``ready``, and what it adds."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, _, said = line.partition(" ")
            if word == what:
                return dict(json.loads(said))
        raise AssertionError(f"The worker ended with {self.wait()}")

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send the signal; exit code and what was logged."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        """Until it ends; exit code and what was logged."""
        self.process.communicate(timeout=30)
        with self._errors as errors:
            errors.seek(0)
            return self.process.returncode, errors.read()


class Watching(Unobserved):
    """Remembers what the shell told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.done: list[Done] = []
        self.recoveries: list[Restored] = []
        self.latest: dict[int, Progress] = {}

    def batch(self, done: Done) -> None:
        self.done.append(done)

    def progress(self, progress: Progress) -> None:
        self.latest[progress.partition] = progress

    def restored(self, restored: Restored) -> None:
        self.recoveries.append(restored)

    @property
    def events(self) -> int:
        return sum(len(done.timestamps_ms) for done in self.done)


async def until(reached: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition; fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come in time"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(
    shell: ShellConfig, core: Core = CORE, watching: Watching | None = None
) -> AsyncIterator[Application]:
    """A worker in this process, from ready to stopped."""
    watching = watching or Watching()
    app = create_application(shell, core, watching)
    app.in_worker = True
    starting = asyncio.create_task(app.start())
    try:
        await until(lambda: bool(watching.recoveries) or app.crashed)
        yield app
    finally:
        await app.stop()
        await asyncio.gather(starting, return_exceptions=True)
