"""A worker for hours: does it stay as it is? ``make soak MINUTES=120``.

One broker, two workers, ten times as many users as they may keep. The second worker is restarted
and killed now and then, and its partitions come and go; the first one lives from beginning to end,
and its memory and file descriptors are sampled. An independent reader of the predictions looks for
silences. The last line is a JSON object; the exit code is 1 when something grows or stalls.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.commands.topics import ensured
from stream_app.files import FileEvent
from stream_app.kafka.broker_config import BrokerConfig
from stream_app.kafka.connection import opened
from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.jars import cache_root, ensure_jars
from stream_app.pace import at_rate
from stream_app.produce import produce, producer_of
from stream_app.settings import Settings, load
from stream_app.simulate import SimulatorConfig, simulate
from tests.chaos.schedule import SESSION_TIMEOUT_MS, Act
from tests.chaos.steady import STALL_SECONDS, Sample, Window, stalls, trend
from tests.chaos.workers import Worker
from tests.tiny_model import tiny_spec, write_tiny_model

PARTITIONS = 4
SAMPLE_SECONDS = 1.0
BOUND_SECONDS = SESSION_TIMEOUT_MS / 1_000 + 5
"""After a death its partitions are served again within this."""

FAULTS = (("kill", 0.0), ("stop", 0.0), ("kill", 8.0), ("stop", 8.0))
"""In turn: how the second worker ends, and for how many seconds it stays away."""

# Nobody reads yesterday's predictions here, and two hours of them fill a disk.
BROKER = {"log.retention.ms": "300000", "log.segment.bytes": str(32 << 20)}


class Soak(NamedTuple):
    """What is asked for."""

    minutes: float
    rate: float
    users_cap: int
    fault_seconds: float


def environ_of(bootstrap: str, prefix: str, soak: Soak, model: Path) -> dict[str, str]:
    own = {
        "KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "INPUT__TOPIC": f"{prefix}events",
        "TOPICS__PREFIX": prefix,
        "WORKER__APP_ID": prefix.strip("."),
        "WORKER__MODEL_DIR": str(model),
        "WORKER__PARTITIONS": str(PARTITIONS),
        "WORKER__SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
        "CORE__MAX_USERS_PER_PARTITION": str(soak.users_cap),
        "ALERTS__RATE": "0.01",
    }
    return {f"CLICKAHEAD_{name}": value for name, value in own.items()}


def clicks(soak: Soak) -> Iterator[FileEvent]:
    """Ten times as many users as all partitions may keep, in real time."""
    users = 10 * PARTITIONS * soak.users_cap
    shop = SimulatorConfig(
        users=users, items=300, dirt=0.01, events_per_second=min(soak.rate, users / 80),
        start_ms=int((time.time() - 86_400) * 1_000),
    )  # fmt: skip
    return (simulated.event for simulated in simulate(shop, Random(1)))  # noqa: S311


class Watch:
    """What is seen of the workers while they run."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.arrivals: dict[int, list[float]] = {number: [] for number in range(PARTITIONS)}
        self.faults: list[Window] = []
        self.predictions = 0

    async def sample(self, worker: Worker) -> None:
        while True:
            if (pid := worker.pid) is not None:
                self.samples.append(sampled(pid))
            await asyncio.sleep(SAMPLE_SECONDS)

    async def listen(self, settings: Settings) -> None:
        """When predictions come, by partition; several within 0.1 s count as one."""
        connection = settings.connection()
        consumer = AIOKafkaConsumer(
            **connection.client(), group_id=None, isolation_level="read_committed"
        )
        async with opened(consumer, connection):
            topic = settings.topic("predictions")
            consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
            await consumer.seek_to_end()
            while True:
                chunks = await consumer.getmany(timeout_ms=200)
                now = time.monotonic()
                for place, records in chunks.items():
                    self.predictions += len(records)
                    seen = self.arrivals[place.partition]
                    if not seen or now - seen[-1] > 0.1:
                        seen.append(now)

    async def disturb(self, worker: Worker, every_seconds: float, until: float) -> None:
        """End the worker in one way after the other, with the time marked that this may cost."""
        for number in count():
            deed, away_seconds = FAULTS[number % len(FAULTS)]
            rest = BOUND_SECONDS + away_seconds
            if time.monotonic() + every_seconds + rest > until:
                return
            await asyncio.sleep(every_seconds)
            began = time.monotonic()
            worker.acts.put_nowait(Act(0, deed, worker.name))  # type: ignore[arg-type]
            await worker.acts.join()
            await asyncio.sleep(away_seconds)
            # Coming back is a change of owners, too.
            worker.acts.put_nowait(Act(0, "start", worker.name))
            await worker.acts.join()
            self.faults.append(Window(began, time.monotonic() + BOUND_SECONDS))


def sampled(pid: int) -> Sample:
    """Memory and open files of a process, from /proc."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Sample(time.monotonic(), pages * os.sysconf("SC_PAGE_SIZE"), files)


async def soaked(soak: Soak, bootstrap: str, prefix: str, folder: Path) -> dict[str, Any]:
    """The whole time; the last line as an object."""
    model = write_tiny_model(folder / "model", tiny_spec())
    settings = load(None, environ_of(bootstrap, prefix, soak, model))
    await ensured(settings, create=True)
    environ = {"PATH": os.environ["PATH"], **environ_of(bootstrap, prefix, soak, model)}
    workers = [
        Worker(name, {**environ, "CLICKAHEAD_WORKER__INSTANCE_ID": name}, folder, [])
        for name in ("steady", "disturbed")
    ]
    watch, stop = Watch(), asyncio.Event()
    tasks = [asyncio.create_task(worker.tend()) for worker in workers]
    try:
        for worker in workers:
            worker.start()
        ready = await asyncio.gather(*(worker.until_ready() for worker in workers))
        began = time.monotonic()
        until = began + soak.minutes * 60
        connection = settings.connection()
        async with opened(producer_of(connection.client()), connection) as producer:
            chunks = at_rate(clicks(soak), soak.rate, time.monotonic)
            sending = asyncio.create_task(
                produce(chunks, producer, settings.topic("events"), stop=stop)
            )
            tasks += [
                asyncio.create_task(watch.sample(workers[0])),
                asyncio.create_task(watch.listen(settings)),
                asyncio.create_task(watch.disturb(workers[1], soak.fault_seconds, until)),
                asyncio.create_task(tell(watch, until)),
            ]
            await asyncio.sleep(until - time.monotonic())
            ended = time.monotonic()
            stop.set()
            sent = await sending
        for task in tasks:
            task.cancel()
        broken = [str(e) for e in await asyncio.gather(*tasks, return_exceptions=True) if failed(e)]
        await asyncio.gather(*(worker.stop() for worker in workers))
    finally:
        for worker in workers:
            worker.end()
    faults = [*broken, *(fault for worker in workers for fault in worker.faults)]
    if not all(ready):
        faults.append("a worker was not ready in time")
    # The first seconds, in which the reader finds its place, are nobody's silence.
    return judged(watch, Window(began + 2, ended), sent.total, faults)


def failed(result: object) -> bool:
    return isinstance(result, Exception)


def judged(watch: Watch, whole: Window, sent: int, faults: list[str]) -> dict[str, Any]:
    """The last line: how much it grew, and how long it was silent."""
    times = [sample.at_seconds for sample in watch.samples]
    memory = trend(times, [sample.resident_bytes / 2**20 for sample in watch.samples])
    files = trend(times, [sample.descriptors for sample in watch.samples])
    silences = [stalls(seen, *whole, watch.faults) for seen in watch.arrivals.values()]
    longest = max(outside for outside, _ in silences)
    good = memory.is_flat and files.is_flat and longest <= STALL_SECONDS and not faults
    return {
        "passed": good,
        "minutes": round((whole.end - whole.start) / 60, 1),
        "events": sent,
        "predictions": watch.predictions,
        "faults_injected": len(watch.faults),
        "memory_mib": {name: round(value, 2) for name, value in memory._asdict().items()},
        "descriptors": {name: round(value, 2) for name, value in files._asdict().items()},
        "longest_stall_seconds": round(longest, 2),
        "longest_silence_in_faults_seconds": round(max(any_ for _, any_ in silences), 2),
        "faults": faults,
    }


async def tell(watch: Watch, until: float) -> None:
    """A line now and then."""
    every = max(10.0, (until - time.monotonic()) / 60)
    while True:
        await asyncio.sleep(every)
        if watch.samples:
            now = watch.samples[-1]
            say(
                f"{until - now.at_seconds:.0f} s to go: {watch.predictions} predictions,"
                f" {now.resident_bytes / 2**20:.0f} MiB, {now.descriptors} file descriptors,"
                f" {len(watch.faults)} faults injected"
            )


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--rate", type=float, default=200.0, help="events a second")
    parser.add_argument("--users-cap", type=int, default=500, help="users kept per partition")
    parser.add_argument("--fault-seconds", type=float, help="between faults; else a twelfth")
    given = parser.parse_args(arguments)
    every = given.fault_seconds or max(30.0, given.minutes * 5)
    soak = Soak(given.minutes, given.rate, given.users_cap, every)
    jars = ensure_jars(cache_root(os.environ, Path.home()))
    with tempfile.TemporaryDirectory(prefix="clickahead-soak-") as name:
        folder = Path(name)
        with EmbeddedKafka(folder / "kafka", jars, BrokerConfig(properties=BROKER)) as cluster:
            line = asyncio.run(soaked(soak, cluster.bootstrap_servers, "soak.", folder))
    say(json.dumps(line))
    return 0 if line["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
