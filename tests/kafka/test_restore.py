"""State out of the changelog, from its beginning or on top of a file: the same, bit for bit."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.kafka import restore as restore_module
from stream_app.kafka import snapshots as snapshots_module
from stream_app.kafka.contract import Core
from stream_app.kafka.delivery import ExactlyOnce, Results
from stream_app.kafka.observer import Restored, Snapshotted
from stream_app.kafka.restore import RecoveryStalled, bounded
from stream_app.kafka.shell_config import ShellConfig
from tests.kafka.counting import PARTITION, CountingStore, config, play
from tests.kafka.ledger import (
    EXACT,
    Event,
    Watching,
    events,
    make_topics,
    produce,
    serving,
    until,
    verify,
)

Damage = Callable[[Path], None]


class Filing(Watching):
    def __init__(self) -> None:
        super().__init__()
        self.files: list[Snapshotted] = []

    def snapshot(self, snapshot: Snapshotted) -> None:
        self.files.append(snapshot)

    def outcomes(self, name: str) -> int:
        return sum(file.outcome == name for file in self.files)


async def life(shell: ShellConfig, batch: list[Event]) -> Filing:
    """A worker from start to stop, which processes these events."""
    watching = Filing()
    await produce(shell.client["bootstrap_servers"], shell.app_id, batch)
    async with serving(shell, watching=watching):
        await until(lambda: watching.events == len(batch))
    return watching


@pytest.mark.kafka
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_restart_reads_only_what_came_after_the_file(
    kafka: str, topic_prefix: str, tmp_path: Path, delivery: str
) -> None:
    async def scenario() -> tuple[list[Restored], list[Filing]]:
        app_id, batch = topic_prefix + "a", events(900)
        warm = config(kafka, app_id, state_dir=tmp_path, max_batch_events=10, delivery=delivery)
        cold = config(kafka, app_id, max_batch_events=10, delivery=delivery)
        await make_topics(kafka, app_id)
        lives = [await life(warm, batch[:300])]
        older = tmp_path / "older"
        shutil.copytree(tmp_path / app_id, older)
        lives += [await life(warm, batch[300:600]), await life(cold, batch[600:800])]
        # A file that is two lives old is as good as any, and so is none.
        for path in older.iterdir():
            shutil.copy(path, tmp_path / app_id / path.name)
        lives += [await life(warm, batch[800:])]
        assert await verify(kafka, app_id, batch) == EXACT
        return [one.recoveries[0] for one in lives], lives

    recoveries, lives = asyncio.run(scenario())
    assert [recovery.from_files for recovery in recoveries] == [0, 4, 0, 4]
    assert recoveries[1].records == 0
    assert recoveries[2].records > recoveries[3].records > 0
    assert [one.outcomes("written") for one in lives] == [4, 4, 0, 4]


@pytest.mark.kafka
def test_a_file_written_while_events_are_processed_is_one_to_begin_with(
    kafka: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker ends without leaving a newer one, as by SIGKILL."""
    for name, value in (("CHECK_SECONDS", 0.01), ("EVERY_SECONDS", 0.0), ("SLICE_RECORDS", 5)):
        monkeypatch.setattr(snapshots_module, name, value)

    async def scenario() -> None:
        app_id, batch = topic_prefix + "a", events(3_000)
        shell = config(kafka, app_id, state_dir=tmp_path, max_batch_events=8)
        await make_topics(kafka, app_id)
        watching = Filing()
        async with serving(shell, watching=watching) as app:
            producing = asyncio.create_task(produce(kafka, app_id, batch[:2_500], 1_500))
            await until(lambda: watching.events == 2_500)
            await producing
            app.snapshots._folder = None
        assert watching.outcomes("written") > 8
        monkeypatch.setattr(snapshots_module, "EVERY_SECONDS", 60.0)
        second = await life(shell, batch[2_500:])
        assert second.recoveries[0].from_files == 4
        assert second.recoveries[0].records < watching.events
        assert await verify(kafka, app_id, batch) == EXACT

    asyncio.run(scenario())


def cut(folder: Path) -> None:
    """The second half is missing, or a byte of it is another."""
    for number, path in enumerate(sorted(folder.iterdir())):
        whole = path.read_bytes()
        middle = (4096 + len(whole)) // 2
        changed = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        path.write_bytes(changed if number % 2 else whole[:middle])


def swap(folder: Path) -> None:
    """Partitions' files in one another's place."""
    (folder / "0.state").rename(folder / "x")
    (folder / "1.state").rename(folder / "0.state")
    (folder / "x").rename(folder / "1.state")
    for name in ("2.state", "3.state"):
        (folder / name).write_bytes(b"")


@pytest.mark.kafka
@pytest.mark.parametrize("damage", [cut, swap])
def test_files_that_will_not_do_cost_time_and_nothing_else(
    kafka: str, topic_prefix: str, tmp_path: Path, damage: Damage
) -> None:
    async def scenario() -> None:
        app_id, batch = topic_prefix + "a", events(400)
        shell = config(kafka, app_id, state_dir=tmp_path)
        await make_topics(kafka, app_id)
        await life(shell, batch[:300])
        damage(tmp_path / app_id)
        second = await life(shell, batch[300:])
        assert second.recoveries[0].from_files == 0
        assert second.outcomes("refused") == 4
        assert await verify(kafka, app_id, batch) == EXACT

    asyncio.run(scenario())


@pytest.mark.kafka
@pytest.mark.parametrize("again", [300, 20])
def test_files_of_a_kafka_that_was_made_anew_are_not_believed(
    kafka: str, topic_prefix: str, tmp_path: Path, again: int
) -> None:
    """Whether its changelog is longer than the old one by now, or shorter."""

    async def scenario() -> None:
        app_id = topic_prefix + "a"
        shell = config(kafka, app_id, state_dir=tmp_path, partitions=1)
        await make_topics(kafka, app_id, 1)
        await life(shell, events(100, partitions=1))
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        names = [f"{app_id}.{name}" for name in ("in", "predictions", "anomalies", "rejected")]
        await admin.delete_topics([*names, shell.changelog])
        while set(await admin.list_topics()) & {*names, shell.changelog}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await admin.close()
        await make_topics(kafka, app_id, 1)
        batch = events(again, partitions=1, seed=2)
        # Another machine's worker, which has no files.
        await life(config(kafka, app_id, partitions=1, max_batch_events=10), batch[:-10])
        third = await life(shell, batch[-10:])
        assert third.recoveries[0].from_files == 0
        assert third.outcomes("refused") == 1
        assert await verify(kafka, app_id, batch, 1) == EXACT

    asyncio.run(scenario())


def test_a_step_that_gets_no_answer_is_an_error_and_no_end_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Faust takes a timeout for a stop: the worker keeps its partitions and never gets ready."""
    monkeypatch.setattr(restore_module, "STALL_SECONDS", 0.05)
    with pytest.raises(RecoveryStalled, match="while waiting for Godot"):
        asyncio.run(bounded(asyncio.sleep(9), "waiting for Godot"))


class Thorough(CountingStore):
    """Takes its time with every chunk."""

    def restore(self, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        time.sleep(0.2)
        super().restore(records)


@pytest.mark.kafka
def test_records_that_wait_while_others_are_restored_are_restored_too(
    kafka: str, topic_prefix: str
) -> None:
    """Whether a record was waited for or waited itself, it is the same to who restores."""

    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a")
        await make_topics(kafka, shell.app_id)
        await life(shell, [])
        users = [(b"uk%d" % number, b"%0500d" % number) for number in range(4_000)]
        changes = [*users, (PARTITION, b"0")]
        for partition in range(4):
            owner = await ExactlyOnce(shell).open(partition)
            await owner.commit(owner.pack(Results({}, {}, changes, 1)))
            await owner.close()
        watching = Watching()
        async with serving(shell, Core(store=Thorough, play=play), watching) as app:
            await until(lambda: bool(watching.recoveries))
            stores = list(app.partitions.stores.values())
        expected = {b"k%d" % number: number for number in range(4_000)}
        assert [store.counts for store in stores] == [expected] * 4
        assert watching.recoveries[0].bytes == 4 * sum(len(value) for _, value in changes)

    asyncio.run(scenario())
