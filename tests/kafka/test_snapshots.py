"""Files of the state: whose they are, when they are written, and what a full disk changes."""

import asyncio
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_app.kafka import snapshots as snapshots_module
from stream_app.kafka.observer import Snapshotted, Unobserved
from stream_app.kafka.shell_config import ShellConfig
from stream_app.kafka.snapshot_file import SnapshotHeader, SnapshotWriter, read_header
from stream_app.kafka.snapshots import MAX_AGE_MS, Ended, Snapshots
from stream_app.kafka.store import Anchor, Partitions
from tests.kafka.counting import CountingStore, config


class Seen(Unobserved):
    def __init__(self) -> None:
        self.files: list[Snapshotted] = []

    def snapshot(self, snapshot: Snapshotted) -> None:
        self.files.append(snapshot)

    @property
    def outcomes(self) -> list[str]:
        return [file.outcome for file in self.files]


class Playing:
    """A lane that goes on while its state is written."""

    def __init__(self, store: CountingStore) -> None:
        self.store: Any = store
        self.anchor: Anchor | None = Anchor(1, 11)
        self.played = self.delivered = 1


def shell(folder: Path) -> ShellConfig:
    return config("nowhere:1", "a", state_dir=folder)


def filled(users: int = 3) -> CountingStore:
    store = CountingStore(0)
    store.counts = {b"u%d" % number: number for number in range(users)}
    store.next_offset = 9
    return store


def left(files: Snapshots, store: CountingStore, anchor: Anchor) -> None:
    """What the end of a worker leaves."""
    partitions = Partitions(CountingStore)
    partitions.stores[0] = store
    partitions.leave(0, anchor)
    asyncio.run(files.leave(partitions))


def header_of(files: Snapshots, begins: int = 0, ends: int = 100) -> SnapshotHeader | None:
    return asyncio.run(files.usable(0, begins, ends))


def test_a_worker_leaves_a_file_and_the_next_one_begins_with_it(tmp_path: Path) -> None:
    seen = Seen()
    left(Snapshots(shell(tmp_path), "me", seen), filled(), Anchor(7, 70))
    second = Snapshots(shell(tmp_path), "me", seen)
    header = header_of(second)
    assert header is not None
    assert (header.since, header.until, header.checksum, header.records) == (7, 7, 70, 4)
    store = CountingStore(0)
    assert asyncio.run(second.restore(0, header, store))
    assert (store.counts, store.next_offset) == (filled().counts, 9)
    # Nothing has changed since, so there is nothing to write.
    left(second, store, Anchor(7, 70))
    assert seen.outcomes == ["written", "restored"]


def test_without_a_folder_nothing_is_read_or_written(tmp_path: Path) -> None:
    files = Snapshots(config("nowhere:1", "a"), "me", Seen())
    assert header_of(files) is None
    left(files, filled(), Anchor(7, 70))
    asyncio.run(files.keep({0: Playing(filled())}))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("change", "bounds", "said"),
    [
        ({"app_id": "b"}, (0, 100), "it is of partition 0 of a-state-changelog"),
        ({"changelog": "b-log"}, (0, 100), "of b-log"),
        ({"partition": 3}, (0, 100), "it is of partition 3"),
        ({"identity": "you"}, (0, 100), "another model, state format or pseudonym key"),
        ({}, (0, 6), "offset 7 of a changelog that ends at 6"),
        ({}, (8, 100), "needs the changelog from 7 on, which begins at 8"),
        ({"started_ms": -MAX_AGE_MS - 3_600_000}, (0, 100), "it is 21.0 h old"),
        ({"started_ms": 3_600_000}, (0, 100), "it is -1.0 h old"),
    ],
)
def test_a_file_that_does_not_fit_is_passed_over_with_the_reason(
    change: dict[str, Any],
    bounds: tuple[int, int],
    said: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_ms = int(time.time() * 1000)
    header = SnapshotHeader(
        app_id="a", changelog="a-state-changelog", partition=0, identity="me", since=7, until=7,
        checksum=0, started_ms=now_ms - 1,
    )  # fmt: skip
    if "started_ms" in change:
        change = {"started_ms": now_ms + change["started_ms"]}
    with SnapshotWriter(tmp_path / "a" / "0.state") as writer:
        writer.finish(msgspec.structs.replace(header, **change))
    seen = Seen()
    assert header_of(Snapshots(shell(tmp_path), "me", seen), *bounds) is None
    assert seen.outcomes == ["refused"]
    assert said in caplog.text
    assert "restored from the changelog" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"x" * 5_000, None])
def test_rubbish_in_place_of_a_file_is_passed_over(damage: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a" / "0.state"
    path.parent.mkdir()
    if damage is None:
        path.mkdir()
    else:
        path.write_bytes(damage)
    seen = Seen()
    assert header_of(Snapshots(shell(tmp_path), "me", seen)) is None
    assert seen.outcomes == ["refused"]


def test_records_that_the_store_refuses_are_no_reason_to_end(tmp_path: Path) -> None:
    seen = Seen()
    files = Snapshots(shell(tmp_path), "me", seen)
    left(files, filled(), Anchor(7, 70))
    header = header_of(files)
    assert header is not None

    class Strange(CountingStore):
        def restore(self, records: Any) -> None:
            raise ValueError("state of another model")

    assert not asyncio.run(files.restore(0, header, Strange(0)))
    assert seen.outcomes == ["written", "refused"]


def test_a_file_says_what_it_has_seen_and_counts_only_once_that_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slices are taken between micro-batches, some of which are not committed yet."""
    for name, value in (("CHECK_SECONDS", 0.01), ("EVERY_SECONDS", 0.0)):
        monkeypatch.setattr(snapshots_module, name, value)
    path = tmp_path / "a" / "0.state"
    lane = Playing(filled(2_000))
    lane.played = 3

    async def scenario() -> None:
        files = Snapshots(shell(tmp_path), "me", Seen())
        keeping = asyncio.create_task(files.keep({0: lane}))
        await asyncio.sleep(0.3)
        assert not path.exists()
        lane.delivered, lane.anchor = 3, Anchor(8, 88)
        async with asyncio.timeout(5):
            while not path.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(scenario())
    header = read_header(path)
    assert (header.since, header.until, header.checksum) == (1, 8, 88)


def test_a_file_is_written_anew_once_the_changelog_has_grown_by_a_share_of_it(
    tmp_path: Path,
) -> None:
    files = Snapshots(shell(tmp_path), "me", Seen())
    left(files, filled(99), Anchor(1_000, 0))
    lane = Playing(filled())
    for end, due in ((1_000, False), (1_050, False), (1_051, True)):
        lane.anchor = Anchor(end, 0)
        assert files._due(0, lane) is due
    assert files._due(1, lane)
    lane.anchor = None
    assert not files._due(1, lane)


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """As on a disk that has so many bytes left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_once_and_the_older_file_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    files = Snapshots(shell(tmp_path), "me", seen)
    left(files, filled(), Anchor(7, 70))
    with files_up_to(100_000):
        for end in (8, 9):
            left(files, filled(20_000), Anchor(end, 0))
    assert seen.outcomes == ["written", "failed", "failed"]
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1
    assert "Nothing is lost" in said[0]
    header = header_of(files)
    assert header is not None
    assert header.until == 7
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["0.state"]
    left(files, filled(20_000), Anchor(10, 0))
    assert seen.outcomes[-1] == "written"


def test_what_takes_too_long_at_the_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(snapshots_module, "LEAVE_SECONDS", 0.05)
    files = Snapshots(shell(tmp_path), "me", Seen())

    class Long(CountingStore):
        def records(self, count: int) -> Iterator[list[tuple[bytes, bytes | None]]]:
            while True:
                yield [(b"uk", b"1")]

    started = time.monotonic()
    left(files, Long(0), Anchor(7, 70))
    assert time.monotonic() - started < 5
    assert "were not all written" in caplog.text
    assert header_of(files) is None


def test_what_an_earlier_process_did_not_finish_is_removed(tmp_path: Path) -> None:
    part = tmp_path / "a" / "0-x.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    Snapshots(shell(tmp_path), "me", Seen())
    assert not part.exists()
    assert Ended(filled(), Anchor(1, 2)).anchor == Anchor(1, 2)
