"""State from the changelog: whole record batches, from the beginning or on top of a file."""

import asyncio
from operator import attrgetter
from time import perf_counter
from typing import Any

from faust.types import TP

from stream_app.kafka.consumer import ChunkConsumer
from stream_app.kafka.observer import Observer, Restored
from stream_app.kafka.packing import checksum
from stream_app.kafka.snapshot_file import SnapshotHeader
from stream_app.kafka.snapshots import Snapshots
from stream_app.kafka.store import Anchor, Partitions

STALL_SECONDS = 60.0
"""Recovery that reads nothing for so long ends the worker; it must not sit on its partitions."""


_key_and_value = attrgetter("key", "value")
_value_of = attrgetter("value")


class RecoveryStalled(RuntimeError):
    """The changelog or the group did not answer in time."""


class Restore:
    """Brings the stores of one assignment up to the end of their changelog."""

    def __init__(
        self,
        consumer: ChunkConsumer,
        partitions: Partitions,
        snapshots: Snapshots,
        observer: Observer,
    ) -> None:
        self._consumer = consumer
        self._thread = consumer.thread
        self._partitions = partitions
        self._snapshots = snapshots
        self._observer = observer
        self._records = self._bytes = 0

    async def run(self, changelogs: dict[int, TP], started: float) -> Restored:
        """Restore these partitions.

        Raises:
            RecoveryStalled: nothing came for too long.
        """
        partitions, tps = self._partitions, set(changelogs.values())
        bounds = await bounded(self._thread.log_bounds(tps), "asking where the changelog ends")
        warm = {p: at for p in changelogs if (at := partitions.true_to(p)) is not None}
        cold = {p: tp for p, tp in changelogs.items() if p not in warm}
        filed = await self._from_files(cold, bounds)
        starts = {
            tp: max(bounds[tp][0], warm.get(p, filed.get(p, 0))) for p, tp in changelogs.items()
        }
        await self._apply(starts, bounds, warm)
        await self._thread.stop_reading(tps)
        for partition, tp in changelogs.items():
            if partition not in warm:
                partitions.stores[partition].recovered()
            partitions.read_to(partition, bounds[tp][1])
        return Restored(
            partitions=len(changelogs),
            warm=len(warm),
            records=self._records,
            bytes=self._bytes,
            seconds=perf_counter() - started,
            from_files=len(filed),
        )

    async def _apply(
        self, starts: dict[TP, int], bounds: dict[TP, tuple[int, int]], warm: dict[int, int]
    ) -> None:
        """Read on from there to the ends; a partition that is not true after all leaves ``warm``
        and is read whole.
        """
        partitions = self._partitions
        reader = ChangelogReader(
            self._consumer, starts, {tp: end for tp, (_, end) in bounds.items()}
        )
        total = reader.remaining
        await self._thread.set_positions(starts)
        async for tp, rows in reader.chunks():
            partition = tp.partition
            if partition in warm:
                # Somebody else has written since: what is in memory is history.
                del warm[partition]
                partitions.fresh(partition)
                await reader.restart(tp, bounds[tp][0])
                continue
            partitions.stores[partition].restore(map(_key_and_value, rows))
            last = rows[-1]
            partitions.anchors[partition] = Anchor(last.offset + 1, checksum(last.key, last.value))
            self._records += len(rows)
            self._bytes += sum(map(len, filter(None, map(_value_of, rows))))
            self._observer.restoring(total - reader.remaining, total)

    async def _from_files(
        self, cold: dict[int, TP], bounds: dict[TP, tuple[int, int]]
    ) -> dict[int, int]:
        """Fill fresh stores from what files there are; where to go on in the changelog."""
        found = {}
        for partition, tp in cold.items():
            self._partitions.fresh(partition)
            header = await self._snapshots.usable(partition, *bounds[tp])
            if header is not None:
                found[tp] = header
        known = await self._known(found) if found else set()
        filed = {}
        for tp, header in found.items():
            partition = tp.partition
            if tp not in known:
                self._snapshots.refuse(
                    partition,
                    f"the changelog has something else at offset {header.until - 1}: it was made"
                    " anew, or has lost records",
                )
                continue
            store = self._partitions.stores[partition]
            if await self._snapshots.restore(partition, header, store):
                self._partitions.anchors[partition] = Anchor(header.until, header.checksum)
                filed[partition] = header.since
            else:
                self._partitions.fresh(partition)
        return filed

    async def _known(self, headers: dict[TP, SnapshotHeader]) -> set[TP]:
        """The partitions in which the last record behind a file is still in its place."""
        starts = {tp: header.until - 1 for tp, header in headers.items()}
        ends = {tp: header.until for tp, header in headers.items()}
        reader = ChangelogReader(self._consumer, starts, ends)
        await self._thread.set_positions(starts)
        known = set()
        async for tp, rows in reader.chunks():
            first, header = rows[0], headers[tp]
            if (first.offset, checksum(first.key, first.value)) == (
                header.until - 1,
                header.checksum,
            ):
                known.add(tp)
        await self._thread.stop_reading(headers)
        return known


class ChangelogReader:
    """Record batches of changelog partitions, up to their ends.

    Positions are compared, not offsets of records: the end may be a transaction's marker, or a hole
    that compaction left, where no record will ever come.
    """

    def __init__(
        self, consumer: ChunkConsumer, positions: dict[TP, int], ends: dict[TP, int]
    ) -> None:
        self._thread = consumer.thread
        self._ends = ends
        self._positions = dict(positions)

    @property
    def remaining(self) -> int:
        """Offsets still to be read."""
        return sum(max(0, self._ends[tp] - at) for tp, at in self._positions.items())

    async def restart(self, tp: TP, offset: int) -> None:
        """Read a partition again from there."""
        self._positions[tp] = offset
        await self._thread.set_positions({tp: offset})

    async def chunks(self) -> Any:
        """Yields partition and rows. Raises RecoveryStalled."""
        progress = perf_counter()
        while unread := frozenset(tp for tp, at in self._positions.items() if at < self._ends[tp]):
            before = self.remaining
            chunks = await self._thread.read(unread, 0.05, None)
            for chunk in chunks:
                tp = TP(chunk.topic, chunk.partition)
                self._positions[tp] = chunk.end
                yield tp, chunk.rows
            if not chunks:
                # Markers alone move the position without a chunk.
                at = await self._thread.positions(unread)
                self._positions.update((tp, max(at[tp], self._positions[tp])) for tp in unread)
            if self.remaining != before:
                progress = perf_counter()
            elif perf_counter() - progress > STALL_SECONDS:
                raise RecoveryStalled(
                    f"No record of {', '.join(f'{tp.topic}-{tp.partition}' for tp in unread)} came"
                    f" within {STALL_SECONDS:.0f} s; see whether its leader is up."
                )


async def bounded(work: Any, doing: str) -> Any:
    try:
        return await asyncio.wait_for(work, STALL_SECONDS)
    except TimeoutError:
        raise RecoveryStalled(
            f"Recovery got no answer within {STALL_SECONDS:.0f} s while {doing}."
        ) from None
