"""One entrant over the course: started fresh, warmed up, then timed in CPU seconds of its process.

CPU is read from the kernel for the whole process, threads included, between the last prediction of
the warm-up and the last one of all: starting costs nobody anything here.
"""

import asyncio
import os
import re
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

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream_app.core.events import TOPICS
from stream_app.kafka.connection import Connection
from stream_app.kafka.shell_config import TABLE
from stream_app.kafka.topic_admin import ensure_topics
from tests.bench.cores import Pin, anywhere
from tests.bench.course import Click, Course
from tests.scraping import scraped

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
WARM_UP = 400
START_SECONDS = 120.0
STALL_SECONDS = 60.0

METRICS = re.compile(r"Metrics on http://127.0.0.1:(\d+)/metrics")


class Place(NamedTuple):
    """Where a lap is run: everything in it is this lap's own."""

    kafka: str
    name: str
    scratch: Path
    partitions: int = PARTITIONS

    def topic(self, role: str) -> str:
        return f"{self.name}.{role}"

    @property
    def changelog(self) -> str:
        return f"{self.name}-{TABLE}-changelog"

    @property
    def log(self) -> Path:
        return self.scratch / "log"


class Entrant(NamedTuple):
    """A program in the race."""

    name: str
    events: int
    """What it can be asked in a few seconds."""
    command: Callable[[Place, Course], list[str]]
    environ: Callable[[Place, Course], dict[str, str]]
    warm_up: int = WARM_UP
    """Events before the clock starts: those of a just-in-time compiler are many."""
    ready_says: str = ""
    """What its log says once it serves; nothing: it is ready with its first prediction."""


class Lap(NamedTuple):
    entrant: str
    events: int
    cpu_us_per_event: float
    inference_us_per_event: float
    """Of these in the model; 0 of programs that do not tell."""
    events_per_second: float
    ready_seconds: float
    rss_bytes: int
    topic: str
    predictions: dict[str, bytes]  # by event id
    anomalies: dict[int, list[bytes]]  # by partition, in their order


def run_lap(entrant: Entrant, course: Course, kafka: str, pin: Pin = anywhere) -> Lap:
    """Raises RuntimeError, with the end of the program's log, if it stalls or ends."""
    with tempfile.TemporaryDirectory(prefix="clickahead-bench-") as scratch:
        (Path(scratch) / "store").mkdir()
        place = Place(kafka, f"bench-{uuid.uuid4().hex[:8]}", Path(scratch))
        return asyncio.run(_lap(entrant, course, place, pin))


async def _lap(entrant: Entrant, course: Course, place: Place, pin: Pin) -> Lap:
    await make_topics(place)
    if len(course.clicks) < entrant.warm_up + entrant.events:
        raise RuntimeError(f"{entrant.name} wants more clicks than the course has")
    clicks = course.clicks[: entrant.warm_up + entrant.events]
    reader = AIOKafkaConsumer(
        place.topic("predictions"),
        bootstrap_servers=place.kafka,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await reader.start()
    try:
        with running(
            entrant.command(place, course), entrant.environ(place, course), place
        ) as child:
            pin(child.pid)
            started = time.monotonic()
            if entrant.ready_says:
                await until_it_says(entrant.ready_says, child, place)
                ready = time.monotonic() - started
            await produce(place, clicks[: entrant.warm_up])
            found = await read_events(reader, child, 1, place, START_SECONDS)
            if not entrant.ready_says:
                ready = time.monotonic() - started
            found += await read_events(reader, child, entrant.warm_up - len(found), place)
            told = await inference_seconds(place)
            # Everybody meets the same backlog, at saturation from the first event on.
            child.send_signal(signal.SIGSTOP)
            await produce(place, clicks[entrant.warm_up :])
            cpu, wall = cpu_seconds(child.pid), time.monotonic()
            child.send_signal(signal.SIGCONT)
            found += await read_events(reader, child, len(clicks) - len(found), place)
            cpu, wall = cpu_seconds(child.pid) - cpu, time.monotonic() - wall
            inference = await inference_seconds(place) - told
            rss = rss_bytes(child.pid)
    finally:
        await reader.stop()
    return Lap(
        entrant.name, entrant.events, cpu / entrant.events * 1e6, inference / entrant.events * 1e6,
        entrant.events / wall, ready, rss,
        place.topic("events"), dict(found), await read_all(place, "anomalies"),
    )  # fmt: skip


async def make_topics(place: Place) -> None:
    names = {role: place.topic(role) for role in TOPICS}
    await ensure_topics(
        Connection(bootstrap_servers=(place.kafka,)), names, place.changelog, place.partitions
    )


async def produce(place: Place, clicks: Sequence[Click]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=place.kafka, linger_ms=5, max_batch_size=1 << 18, acks="all"
    )
    await producer.start()
    for key, value in clicks:
        await producer.send(place.topic("events"), value, key=key)
    await producer.stop()


async def read_events(
    reader: AIOKafkaConsumer,
    child: "subprocess.Popen[bytes]",
    count: int,
    place: Place,
    stall_seconds: float = STALL_SECONDS,
) -> list[tuple[str, bytes]]:
    """The next ``count`` predictions or more, with their event ids."""
    found: list[tuple[str, bytes]] = []
    last = time.monotonic()
    while len(found) < count:
        batches = await reader.getmany(timeout_ms=200, max_records=5_000)
        for records in batches.values():
            found += [(event_id(record.value), record.value) for record in records]
            last = time.monotonic()
        if child.poll() is not None or time.monotonic() - last > stall_seconds:
            raise RuntimeError(
                f"{len(found)} of {count} predictions came, then none; exit code {child.poll()}."
                f" The end of its log:\n{place.log.read_text()[-3000:]}"
            )
    return found


async def read_all(place: Place, role: str) -> dict[int, list[bytes]]:
    """All that a topic holds, by partition."""
    reader = AIOKafkaConsumer(
        bootstrap_servers=place.kafka, group_id=None, auto_offset_reset="earliest",
        isolation_level="read_committed",
    )  # fmt: skip
    await reader.start()
    try:
        tps = [TopicPartition(place.topic(role), number) for number in range(place.partitions)]
        reader.assign(tps)
        found: dict[int, list[bytes]] = {tp.partition: [] for tp in tps}
        for tp, end in (await reader.end_offsets(tps)).items():
            while await reader.position(tp) < end:
                for records in (await reader.getmany(tp, timeout_ms=200)).values():
                    found[tp.partition] += [record.value for record in records]
        return found
    finally:
        await reader.stop()


def event_id(value: bytes) -> str:
    """All entrants write it first, or nearly so; decoding 150,000 predictions takes longer."""
    start = value.index(b'"event_id":') + len(b'"event_id":')
    start = value.index(b'"', start) + 1
    return value[start : value.index(b'"', start)].decode()


async def until_it_says(text: str, child: "subprocess.Popen[bytes]", place: Place) -> None:
    """Raises RuntimeError where the program ends first, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while text not in place.log.read_text():
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"it never said {text!r}:\n{place.log.read_text()[-3000:]}")
        await asyncio.sleep(0.01)


@contextmanager
def running(
    command: Sequence[str], environ: Mapping[str, str], place: Place
) -> Iterator["subprocess.Popen[bytes]"]:
    """The program as a process of its own, its log in the place's scratch; killed at the end."""
    with place.log.open("wb") as log:
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


async def inference_seconds(place: Place) -> float:
    """What a worker's metrics say; 0 where the log of a program names none."""
    served = METRICS.search(place.log.read_text())
    if served is None:
        return 0.0
    told = await asyncio.to_thread(scraped, int(served[1]))
    return told["clickahead_inference_cpu_seconds_total"]


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def options_of(place: Place, course: Course) -> list[str]:
    """What every peer is told, see ``peers/arguments.py``."""
    given = {
        "kafka": place.kafka,
        "source": place.topic("events"),
        "target": place.topic("predictions"),
        "state": place.changelog,
        "model": str(course.plain_model),
        "group": place.name,
        "scratch": str(place.scratch / "store"),
        "partitions": str(place.partitions),
    }
    return [part for name, value in given.items() for part in (f"--{name}", value)]


def peer(
    module: str, *words: str, python: str = sys.executable
) -> Callable[[Place, Course], list[str]]:
    """The command line of a program in ``tests/bench/peers``."""

    def command(place: Place, course: Course) -> list[str]:
        options = options_of(place, course)
        return [python, "-m", f"tests.bench.peers.{module}", *words, *options]

    return command
