"""One entrant over the course: started fresh, warmed up, then timed in CPU seconds of its process.

CPU is read from the kernel for the whole process, threads included, between the last prediction of
the warm-up and the last one of all: starting costs nobody anything here.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from stream_app.core.events import TOPICS
from stream_app.kafka.connection import Connection
from stream_app.kafka.shell_config import TABLE
from stream_app.kafka.topic_admin import ensure_topics
from tests.bench.course import Click, Course

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
WARM_UP = 400
KEPT = 2_000
"""Predictions that a lap keeps, to be compared with those of others."""

STALL_SECONDS = 60.0


class Place(NamedTuple):
    """Where a lap is run: everything in it is this lap's own."""

    kafka: str
    name: str
    scratch: Path

    def topic(self, role: str) -> str:
        return f"{self.name}.{role}"

    @property
    def changelog(self) -> str:
        return f"{self.name}-{TABLE}-changelog"


class Entrant(NamedTuple):
    """A program in the race. ``events`` is what it can be asked in a few seconds."""

    name: str
    events: int
    command: Callable[[Place, Course], list[str]]
    environ: Callable[[Place, Course], dict[str, str]]


class Lap(NamedTuple):
    entrant: str
    events: int
    cpu_us_per_event: float
    events_per_second: float
    ready_seconds: float
    rss_bytes: int
    predictions: dict[str, bytes]  # by event key of the first KEPT clicks, as they came


def run_lap(entrant: Entrant, course: Course, kafka: str) -> Lap:
    """Raises RuntimeError, with the end of the program's log, if it stalls or ends."""
    with tempfile.TemporaryDirectory(prefix="clickahead-bench-") as scratch:
        (Path(scratch) / "store").mkdir()
        place = Place(kafka, f"bench-{uuid.uuid4().hex[:8]}", Path(scratch))
        return asyncio.run(_lap(entrant, course, place))


async def _lap(entrant: Entrant, course: Course, place: Place) -> Lap:
    await _make_topics(place)
    clicks = course.clicks[: WARM_UP + entrant.events]
    reader = AIOKafkaConsumer(
        place.topic("predictions"),
        bootstrap_servers=place.kafka,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await reader.start()
    started = time.monotonic()
    try:
        with _running(
            entrant.command(place, course), entrant.environ(place, course), place
        ) as child:
            await _produce(place, clicks[:WARM_UP])
            kept = await _read(reader, child, WARM_UP, place)
            ready = time.monotonic() - started
            # Everybody meets the same backlog, at saturation from the first event on.
            child.send_signal(signal.SIGSTOP)
            await _produce(place, clicks[WARM_UP:])
            cpu, wall = cpu_seconds(child.pid), time.monotonic()
            child.send_signal(signal.SIGCONT)
            kept += await _read(reader, child, entrant.events, place)
            cpu, wall = cpu_seconds(child.pid) - cpu, time.monotonic() - wall
            rss = rss_bytes(child.pid)
    finally:
        await reader.stop()
    return Lap(
        entrant.name,
        entrant.events,
        cpu / entrant.events * 1e6,
        entrant.events / wall,
        ready,
        rss,
        dict(kept[:KEPT]),
    )


async def _make_topics(place: Place) -> None:
    names = {role: place.topic(role) for role in TOPICS}
    await ensure_topics(
        Connection(bootstrap_servers=(place.kafka,)), names, place.changelog, PARTITIONS
    )


async def _produce(place: Place, clicks: Sequence[Click]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=place.kafka, linger_ms=5, max_batch_size=1 << 18, acks="all"
    )
    await producer.start()
    for key, value in clicks:
        await producer.send(place.topic("events"), value, key=key)
    await producer.stop()


async def _read(
    reader: AIOKafkaConsumer, child: "subprocess.Popen[bytes]", count: int, place: Place
) -> list[tuple[str, bytes]]:
    """The next ``count`` predictions, named by their key and how many of it came before."""
    found: list[tuple[str, bytes]] = []
    last = time.monotonic()
    while len(found) < count:
        batches = await reader.getmany(timeout_ms=200, max_records=5_000)
        for records in batches.values():
            found += [(_event_id(record.value), record.value) for record in records]
            last = time.monotonic()
        if child.poll() is not None or time.monotonic() - last > STALL_SECONDS:
            raise RuntimeError(
                f"{len(found)} of {count} predictions came, then none; exit code {child.poll()}."
                f" The end of its log:\n{(place.scratch / 'log').read_text()[-3000:]}"
            )
    return found


def _event_id(value: bytes) -> str:
    """All entrants write it first, or nearly so; decoding 150,000 predictions takes longer."""
    start = value.index(b'"event_id":') + len(b'"event_id":')
    start = value.index(b'"', start) + 1
    return value[start : value.index(b'"', start)].decode()


@contextmanager
def _running(
    command: Sequence[str], environ: Mapping[str, str], place: Place
) -> Iterator["subprocess.Popen[bytes]"]:
    with (place.scratch / "log").open("wb") as log:
        child = subprocess.Popen(  # noqa: S603
            list(command),
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environ},
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads since it began."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peer(
    module: str, *words: str, python: str = sys.executable
) -> Callable[[Place, Course], list[str]]:
    """The command line of a program in ``tests/bench/peers``."""

    def command(place: Place, course: Course) -> list[str]:
        given = {
            "kafka": place.kafka,
            "source": place.topic("events"),
            "target": place.topic("predictions"),
            "state": place.changelog,
            "model": str(course.model),
            "group": place.name,
            "scratch": str(place.scratch / "store"),
            "partitions": str(PARTITIONS),
        }
        options = [part for name, value in given.items() for part in (f"--{name}", value)]
        return [python, "-m", f"tests.bench.peers.{module}", *words, *options]

    return command
