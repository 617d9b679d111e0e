"""The disk of the broker is full: Kafka ends, and goes on where it was once there is room."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_app.kafka.broker_config import BrokerConfig
from stream_app.kafka.embedded import EmbeddedKafka
from tests.kafka.ledger import (
    EXACT,
    WorkerProcess,
    events,
    make_topics,
    processed,
    produce,
    verify,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

DISK_MIB = 64
SMALL_INDEXES = BrokerConfig(properties={"log.index.size.max.bytes": "4096"})
STALL_SECONDS = 6.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for the broker's log."""
    place = tmp_path / "node-1" / "data"
    place.mkdir(parents=True)
    made = subprocess.run(  # noqa: S603
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(place)],  # noqa: S607
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"No file system may be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)  # noqa: S603, S607


def fill(disk: Path) -> Path:
    """A file that leaves no room but in the indexes there are.

    Kafka maps these into its memory before they have any. A page of them that is missing is no
    error of the disk to it: what it has written to the log then stays there, and it goes on as if
    it had not. Records double, and transactions are torn, whoever reads or writes them.
    """
    for index in disk.glob("*/*index"):
        with index.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if size:
                os.posix_fallocate(file.fileno(), 0, size)
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65_536))
        except OSError:
            return ballast


def test_a_full_disk_ends_the_broker_and_loses_nothing(
    small_disk: Path, kafka_jars: Path, tmp_path: Path, topic_prefix: str
) -> None:
    """A worker that has been told not to wait long ends with a sentence, and its successor goes on.
    The other one may wait until Kafka is back, unless the broker's last answer was an error."""
    batch = events(1_200)
    workers: list[WorkerProcess] = []
    apps = {
        "exactly_once": {"stall_seconds": STALL_SECONDS},
        "at_least_once": {"delivery": "at_least_once"},
    }

    async def begin(kafka: str, name: str) -> WorkerProcess:
        await make_topics(kafka, topic_prefix + name)
        shell = {"max_batch_events": 16, **apps[name]}
        worker = WorkerProcess(kafka, topic_prefix + name, "--slow", "0.02", **shell)
        await asyncio.to_thread(worker.ready)
        await produce(kafka, topic_prefix + name, batch)
        while await processed(kafka, topic_prefix + name) < 50:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return worker

    async def finish(kafka: str, name: str, worker: WorkerProcess) -> None:
        if worker.process.poll() is not None:
            code, said = await asyncio.to_thread(worker.wait)
            assert code == 1, said
            assert "its next start goes on from there" in said
            worker = WorkerProcess(kafka, topic_prefix + name, delivery=name)
            workers.append(worker)
        async with asyncio.timeout(90):
            while await processed(kafka, topic_prefix + name) < len(batch):
                assert worker.process.poll() is None, worker.wait()[1]
                await asyncio.sleep(0.1)
        code, said = await asyncio.to_thread(worker.stop)
        assert code == 0, said
        verdict = await verify(kafka, topic_prefix + name, batch)
        assert (verdict.missing, verdict.strange, verdict.state) == (0, 0, True)
        assert name == "at_least_once" or verdict == EXACT

    async def scenario(cluster: EmbeddedKafka) -> None:
        kafka = cluster.bootstrap_servers
        workers.extend(await asyncio.gather(*(begin(kafka, name) for name in apps)))
        ballast = fill(small_disk)
        assert await asyncio.to_thread(cluster.wait) == 1
        said = cluster.log_path(1).read_text()
        assert "No space left on device" in said
        assert "InternalError" not in said, said
        await asyncio.to_thread(workers[0].process.wait, 100)
        ballast.unlink()
        await asyncio.to_thread(cluster.start_node, 1)
        await asyncio.gather(*(finish(kafka, *one) for one in zip(apps, workers, strict=True)))

    with EmbeddedKafka(tmp_path, kafka_jars, SMALL_INDEXES) as cluster:
        try:
            asyncio.run(scenario(cluster))
        finally:
            for worker in workers:
                worker.process.kill()
