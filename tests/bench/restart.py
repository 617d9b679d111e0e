"""What a restart costs: restore rate and memory without files, time without predictions with them.

    python -m tests.bench.restart BOOTSTRAP [--users N] [--partitions N] [--hidden N] [--rounds N]
        [--files DIR]

Writes the state of N users with full rings straight into a changelog, then starts the worker as a
process. Without ``--files`` it prints how fast a cold start restored all of it, beside a raw read
of the same changelog just before it, and the peak memory: medians of rounds; ``restore_of_raw`` is
the rate of the one over the rate of the other. With ``--files`` the worker is stopped
by SIGTERM and started again under a stream of clicks, and the longest time without a prediction is
printed too. The last line is a JSON object.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from model.engine import open_engine
from model.spec import Engine
from stream_app.app import shell_config
from stream_app.core.events import TOPICS
from stream_app.core.store import PartitionStore
from stream_app.kafka.connection import Connection
from stream_app.kafka.preflight import Ground
from stream_app.kafka.producers import let_go, take_over
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings, load
from tests.tiny_model import tiny_spec, write_tiny_model

ROOT = Path(__file__).parents[2]
STARTED = 1_000  # records of the input that the state has seen, per partition
CLICKS_PER_SECOND = 200
READY = re.compile(r"Ready: .* restored in ([0-9.]+) s \((\d+) were still in memory, (\d+) came")

Figures = dict[str, float]


def row_of(engine: Engine, settings: Settings, partition: int) -> tuple[PartitionStore, bytes]:
    """An empty store of the partition, and a user's value with a full ring."""
    store = PartitionStore(partition, engine, settings.core_config())
    row = store.add(bytes(16))
    for name, value in (("used", engine.spec.ring_length), ("sessions_total", 1)):
        store.columns[name][row] = value
    store.columns["session_open"][row] = 1
    store.columns["last_event_ms"][row] = int(time.time() * 1000)
    store.touch(bytes(16))
    packed = next(value for key, value in store.take_changes() if key == b"u" + bytes(16))
    assert packed is not None
    return store, packed


async def fill(settings: Settings, engine: Engine, users: int, partitions: int) -> None:
    """Input that was processed, and the state that it left."""
    shell = shell_config(settings, Ground(partitions, {}))
    producer = AIOKafkaProducer(**settings.connection().client(), linger_ms=5)
    await producer.start()
    for number in range(STARTED * partitions):
        await producer.send(shell.source, b"{}", partition=number % partitions)
    await producer.stop()
    for partition in range(partitions):
        store, value = row_of(engine, settings, partition)
        store.record.next_offset, store.record.watermark_ms = STARTED, int(time.time() * 1000)
        writer = await take_over(shell, partition)
        await writer.begin_transaction()
        batch = writer.create_batch()
        keys = [b"u" + number.to_bytes(16, "big") for number in range(partition, users, partitions)]
        for key, content in [
            *((key, value) for key in keys),
            (b"p", msgspec.msgpack.encode(store.record)),
        ]:
            if batch.append(timestamp=None, key=key, value=content) is None:
                await (await writer.send_batch(batch, shell.changelog, partition=partition))
                batch = writer.create_batch()
                batch.append(timestamp=None, key=key, value=content)
        await (await writer.send_batch(batch, shell.changelog, partition=partition))
        await writer.commit_transaction()
        await let_go(writer)


async def raw_read(settings: Settings, topic: str, partitions: int) -> float:
    """Seconds that aiokafka alone takes to read a topic. Uncommitted: the end of what is committed
    lags behind the commit by the time that its markers take."""
    consumer = AIOKafkaConsumer(
        **settings.connection().client(), group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    tps = [TopicPartition(topic, partition) for partition in range(partitions)]
    consumer.assign(tps)
    ends = await consumer.end_offsets(tps)
    started = time.perf_counter()
    for tp in tps:
        while await consumer.position(tp) < ends[tp]:
            await consumer.getmany(timeout_ms=200)
    await consumer.stop()
    return time.perf_counter() - started


class Worker:
    """``clickahead worker`` as a process."""

    def __init__(self, environ: dict[str, str], model: Path) -> None:
        self.log = tempfile.NamedTemporaryFile("w+")  # noqa: SIM115
        self.started = time.perf_counter()
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "stream_app", "worker", "--model", str(model)],
            cwd=ROOT, env={**os.environ, **environ}, stdout=self.log, stderr=self.log,
        )  # fmt: skip

    async def ready(self) -> Figures:
        """Wait until it serves: seconds of the restore and of the start, partitions from files."""
        while True:
            if found := READY.search(self.said()):
                return {
                    "restore_seconds": float(found[1]),
                    "from_files": int(found[3]),
                    "ready_seconds": round(time.perf_counter() - self.started, 2),
                    "ready_cpu_seconds": self.cpu_seconds(),
                }
            assert self.process.poll() is None, self.said()
            await asyncio.sleep(0.02)

    def said(self) -> str:
        # Not through the file that the worker writes to: they would share a position.
        return Path(self.log.name).read_text()

    def cpu_seconds(self) -> float:
        """On a machine with other work, what a quiet one would take at most."""
        user, system = Path(f"/proc/{self.process.pid}/stat").read_text().split()[13:15]
        return round((int(user) + int(system)) / os.sysconf("SC_CLK_TCK"), 2)

    def peak_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]

    async def stop(self) -> float:
        """SIGTERM; seconds until it was gone."""
        started = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self.process.wait)
        assert code == 0, code
        return time.perf_counter() - started


@asynccontextmanager
async def clicking(settings: Settings, partitions: int) -> AsyncIterator[list[float]]:
    """A steady stream of clicks; yields the times at which predictions arrived."""
    client = settings.connection().client()
    producer, arrived = AIOKafkaProducer(**client), list[float]()
    consumer = AIOKafkaConsumer(
        settings.topic("predictions"), **client, isolation_level="read_committed"
    )
    await asyncio.gather(producer.start(), consumer.start())

    async def send() -> None:
        for number in range(10**9):
            click = {
                "user_id": f"u{number % 500}", "item_id": f"i{number % 50}", "event_type": "view",
                "timestamp": int(time.time() * 1000),
            }  # fmt: skip
            value = msgspec.json.encode(click)
            await producer.send(settings.topic("events"), value, partition=number % partitions)
            await asyncio.sleep(1 / CLICKS_PER_SECOND)

    async def receive() -> None:
        async for _ in consumer:
            arrived.append(time.perf_counter())

    tasks = [asyncio.create_task(send()), asyncio.create_task(receive())]
    yield arrived
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(producer.stop(), consumer.stop())


async def planned(
    settings: Settings, environ: dict[str, str], model: Path, partitions: int
) -> Figures:
    """Stop a worker and start it again; the longest time without a prediction."""
    async with clicking(settings, partitions) as arrived:
        first = Worker(environ, model)
        await first.ready()
        while len(arrived) < 5 * CLICKS_PER_SECOND:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        stopped_seconds = await first.stop()
        second = Worker(environ, model)
        figures = await second.ready()
        await asyncio.sleep(3)
        await second.stop()
    gap = max(b - a for a, b in pairwise(arrived))
    return {
        **figures,
        "stop_seconds": round(stopped_seconds, 2),
        "seconds_without_predictions": round(gap, 2),
    }


async def cold_start(
    settings: Settings, environ: dict[str, str], model: Path, partitions: int
) -> Figures:
    """A raw read of the changelog, then a restore of it."""
    changelog = shell_config(settings, Ground(partitions, {})).changelog
    raw_read_seconds = await raw_read(settings, changelog, partitions)
    worker = Worker(environ, model)
    figures = await worker.ready()
    await asyncio.sleep(1)
    peak_mib = round(worker.peak_bytes() / 2**20)
    await worker.stop()
    return {
        **figures,
        "raw_read_seconds": round(raw_read_seconds, 2),
        "restore_of_raw": round(raw_read_seconds / figures["restore_seconds"], 3),
        "peak_mib": peak_mib,
    }


async def main(arguments: list[str]) -> Figures:
    parser = argparse.ArgumentParser()
    parser.add_argument("kafka")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=64, help="numbers in a user's memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=Path, help="worker.state_dir")
    given = parser.parse_args(arguments)
    prefix = f"bench-{uuid.uuid4().hex[:8]}."
    environ = {
        "CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS": given.kafka,
        "CLICKAHEAD_INPUT__TOPIC": prefix + "events",
        "CLICKAHEAD_TOPICS__PREFIX": prefix,
        "CLICKAHEAD_WORKER__APP_ID": prefix + "app",
        "CLICKAHEAD_WORKER__INSTANCE_ID": "w1",
        "CLICKAHEAD_WORKER__METRICS_PORT": "0",
    }
    settings = load(None, environ, {})
    changelog = f"{prefix}app-state-changelog"
    names = {role: settings.topic(role) for role in TOPICS}
    await ensure_topics(Connection((given.kafka,)), names, changelog, given.partitions)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        write_tiny_model(model, tiny_spec(hidden_width=given.hidden, ring_length=50))
        await fill(settings, open_engine(model), given.users, given.partitions)
        rounds = [
            await cold_start(settings, environ, model, given.partitions)
            for _ in range(given.rounds)
        ]
        cold = {name: median(one[name] for one in rounds) for name in rounds[0]}
        figures = {
            "users": given.users,
            "hidden": given.hidden,
            "rounds": given.rounds,
            "restored_users_per_second": round(given.users / cold["restore_seconds"]),
            **cold,
        }
        if given.files is not None:
            environ["CLICKAHEAD_WORKER__STATE_DIR"] = str(given.files.absolute())
            warm = await planned(settings, environ, model, given.partitions)
            figures |= {f"planned_{name}": value for name, value in warm.items()}
    return figures


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1:]))) + "\n")
