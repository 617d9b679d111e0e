"""Files from which a restart begins, so that it reads the tail of the changelog and not all of it.

The changelog stays the truth. A file holds records of it, taken slice by slice while micro-batches
go on: with every change since its first slice applied on top it is the state, and only where all
that it may have seen was committed. A file that does not fit is passed over, with a sentence; the
worker restores from the changelog then, as it does without files.

A flat file, because it is written once and read once: on one machine 250,000 users of 1.2 KB cost
1.0-1.3 us of CPU each to write and 0.5-0.7 s to read in all, RocksDB (rocksdict 0.3.29) 4-6 us for
each change and 4.6-8.7 s.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic, perf_counter, time
from typing import Any, Protocol

from stream_app.kafka.observer import Observer, Snapshotted
from stream_app.kafka.shell_config import ShellConfig
from stream_app.kafka.snapshot_file import (
    PART,
    SnapshotHeader,
    SnapshotInvalid,
    SnapshotWriter,
    read_header,
    read_records,
)
from stream_app.kafka.store import Anchor, Partitions

log = logging.getLogger(__name__)

MAX_AGE_MS = 20 * 3_600_000
"""The changelog keeps every record for 24 h (`topics.CHANGELOG_LAG_MS`). What is older may be
compacted, and a user whose deletion went with it would come back."""

SLICE_RECORDS = 500
LOOP_SHARE = 0.2
"""Of the event loop's time that taking slices may cost while events are processed."""

CHECK_SECONDS = 1.0
EVERY_SECONDS = 60.0
REWRITE_SHARE = 0.5
"""A file is written anew once the changelog has grown by so many records per record in it: what
files cost and what a restart reads both stay within a share of what there is anyway."""

LEAVE_SECONDS = 4.0
"""On a stop, files that take longer are given up; the older ones still count."""


class Living(Protocol):
    """What is needed of a `Lane`."""

    store: Any
    anchor: Anchor | None
    played: int
    delivered: int


class Snapshots:
    """The files of one worker, one per partition, in a folder of the worker's own."""

    def __init__(self, config: ShellConfig, identity: str, observer: Observer) -> None:
        self._config = config
        self._identity = identity
        self._observer = observer
        self._folder = None if config.state_dir is None else config.state_dir / config.app_id
        self._written: dict[int, SnapshotHeader] = {}
        """What the files hold, as far as this process knows."""
        self._complained = False
        if self._folder is not None:
            # What an earlier process did not finish.
            for part in self._folder.glob(f"*{PART}"):
                with suppress(OSError):
                    part.unlink()

    # --- reading

    async def usable(self, partition: int, begins: int, ends: int) -> SnapshotHeader | None:
        """The header of a partition's file, where it is of this changelog.

        Args:
            begins: the changelog's first offset.
            ends: behind the last committed one.
        """
        if self._folder is None:
            return None
        try:
            header = await asyncio.to_thread(read_header, self._path(partition))
        except FileNotFoundError:
            return None
        except (OSError, SnapshotInvalid) as error:
            self.refuse(partition, str(error))
            return None
        reason = self._unfit(header, partition, begins, ends)
        if reason is not None:
            self.refuse(partition, reason)
            return None
        return header

    def _unfit(self, header: SnapshotHeader, partition: int, begins: int, ends: int) -> str | None:
        config = self._config
        owner = (header.app_id, header.changelog, header.partition)
        if owner != (config.app_id, config.changelog, partition):
            return f"it is of partition {header.partition} of {header.changelog}"
        if header.identity != self._identity:
            return "another model, state format or pseudonym key wrote it"
        if header.until > ends:
            return (
                f"it goes up to offset {header.until} of a changelog that ends at {ends}, so that"
                " is another one, or has lost records"
            )
        if header.since < begins:
            return f"it needs the changelog from {header.since} on, which begins at {begins}"
        age_ms = int(time() * 1000) - header.started_ms
        if not 0 <= age_ms <= MAX_AGE_MS:
            return (
                f"it is {age_ms / 3_600_000:.1f} h old, and the changelog keeps every record for a"
                " day only"
            )
        return None

    async def restore(self, partition: int, header: SnapshotHeader, store: Any) -> bool:
        """Fill a fresh store. False where the file is damaged: then the store is half filled."""
        path, started = self._path(partition), perf_counter()
        try:
            frames = read_records(path, header)
            while records := await asyncio.to_thread(next, frames, None):
                store.restore(records)
                self._observer.restoring(0, 0)
        except Exception as error:
            # Whatever is wrong with a file, the changelog has it all.
            self.refuse(partition, str(error))
            return False
        self._written[partition] = header
        self._observer.snapshot(
            Snapshotted(
                partition, "restored", header.records, path.stat().st_size, perf_counter() - started
            )
        )
        return True

    def refuse(self, partition: int, reason: str) -> None:
        """Say why a file is not used."""
        log.warning(
            "%s is not used: %s. The state of partition %d is restored from the changelog.",
            self._path(partition), reason, partition,
        )  # fmt: skip
        self._observer.snapshot(Snapshotted(partition, "refused"))

    # --- writing

    async def keep(self, lanes: Mapping[int, Living]) -> None:
        """Write what is due, for ever, while the lanes go on."""
        tried: dict[int, float] = dict.fromkeys(lanes, monotonic())
        while self._folder is not None:
            await asyncio.sleep(CHECK_SECONDS)
            for partition, lane in list(lanes.items()):
                if monotonic() - tried[partition] >= EVERY_SECONDS and self._due(partition, lane):
                    await self._try_to_write(partition, lane)
                    tried[partition] = monotonic()

    def _due(self, partition: int, lane: Living) -> bool:
        if lane.anchor is None:
            return False
        if partition not in self._written:
            return True
        header = self._written[partition]
        grown = lane.anchor.end - header.until
        old = time() * 1000 - header.started_ms > MAX_AGE_MS / 2
        return old or grown > REWRITE_SHARE * header.records

    async def leave(self, partitions: Partitions) -> None:
        """Write what has changed, as far as the time suffices; the lanes have ended."""
        if self._folder is None:
            return
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                for partition, anchor in partitions.anchors.items():
                    header = self._written.get(partition)
                    is_new = header is None or header.until != anchor.end
                    if is_new and partitions.true_to(partition) is not None:
                        store = partitions.stores[partition]
                        await self._try_to_write(partition, Ended(store, anchor))
        except TimeoutError:
            log.warning(
                "The files in %s were not all written in %.0f s; the next start reads more of the"
                " changelog.", self._folder, LEAVE_SECONDS,
            )  # fmt: skip

    async def _try_to_write(self, partition: int, lane: Living) -> None:
        try:
            await self._write(partition, lane)
            self._complained = False
        except OSError as error:
            if not self._complained:
                log.error(
                    "The state of partition %d could not be written to %s: %s. Nothing is lost, for"
                    " the changelog has it; but a restart will read all of that.",
                    partition, self._folder, error,
                )  # fmt: skip
            self._complained = True
            self._observer.snapshot(Snapshotted(partition, "failed"))

    async def _write(self, partition: int, lane: Living) -> None:
        begun, since, started_ms = perf_counter(), lane.anchor, int(time() * 1000)
        assert since is not None  # noqa: S101 (see _due)
        with SnapshotWriter(self._path(partition)) as writer:
            slices = lane.store.records(SLICE_RECORDS)
            while True:
                at = perf_counter()
                records = next(slices, None)
                took = perf_counter() - at
                if records is None:
                    break
                await asyncio.to_thread(writer.append, records)
                if not isinstance(lane, Ended):
                    await asyncio.sleep(took * (1 / LOOP_SHARE - 1))
            played = lane.played
            while lane.delivered < played:  # noqa: ASYNC110 (a commit takes milliseconds)
                await asyncio.sleep(0.01)
            until = lane.anchor
            assert until is not None  # noqa: S101 (it was there before)
            header = SnapshotHeader(
                app_id=self._config.app_id,
                changelog=self._config.changelog,
                partition=partition,
                identity=self._identity,
                since=since.end,
                until=until.end,
                checksum=until.checksum,
                started_ms=started_ms,
            )
            header, size = await asyncio.to_thread(writer.finish, header)
        self._written[partition] = header
        self._observer.snapshot(
            Snapshotted(partition, "written", header.records, size, perf_counter() - begun)
        )

    def _path(self, partition: int) -> Path:
        assert self._folder is not None  # noqa: S101 (nobody asks without one)
        return self._folder / f"{partition}.state"


class Ended:
    """A lane that has ended, all delivered."""

    played = delivered = 0

    def __init__(self, store: Any, anchor: Anchor) -> None:
        self.store = store
        self.anchor: Anchor | None = anchor
