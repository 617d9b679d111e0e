"""From a new assignment to a worker that serves it, in an order that loses nothing.

1. take over: the partitions' earlier owners can write no more, what they left open is aborted;
2. read where the changelog ends, then restore up to there, whole record batches at a time;
3. position the source at the offset that the state names, with nothing flowing;
4. clear what is queued, then let it flow.

Faust's own recovery waits for a record at the end of the changelog where a transaction has its
marker, resumes before it seeks, and dies in silence when a step takes too long.
"""

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from aiokafka.errors import IllegalStateError
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP
from mode import Service

from stream_app.kafka.consumer import ChunkConsumer
from stream_app.kafka.observer import Restored

if TYPE_CHECKING:
    from stream_app.kafka.application import Application

log = logging.getLogger(__name__)

STALL_SECONDS = 60.0
"""Recovery that reads nothing for so long ends the worker; it must not sit on its partitions."""


class RecoveryStalled(RuntimeError):
    """The changelog or the group did not answer in time."""


class BulkRecovery(Recovery):
    """Restores the assigned partitions after each rebalance."""

    app: "Application"
    _restoring: asyncio.Task[None] | None = None

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """A recovery for partitions that are gone has no end."""
        if self._restoring is not None:
            self._restoring.cancel()

    @Service.task
    async def _restart_recovery(self) -> None:
        while not await self.wait_for_stopped(self.signal_recovery_start.wait()):
            self.signal_recovery_start.clear()
            self._restoring = asyncio.create_task(self._recover(self._generation_id))
            try:
                await self._restoring
            except asyncio.CancelledError:
                if self.should_stop:
                    raise
                log.info("The group rebalances again; recovery starts over with the result.")
            except IllegalStateError as error:
                # A partition went while we asked for it, which only a rebalance does.
                log.info("Recovery starts over with the next assignment: %s", error)
                await _bounded(self._next_assignment(), f"waiting for one that helps: {error}")
            finally:
                self._restoring = None

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Faust applies the changelog record by record here; `_restart_recovery` does it all."""

    @Service.task
    async def _publish_stats(self) -> None:
        """Progress is told by `_restore`."""

    async def on_stop(self) -> None:
        if self._restoring is not None:
            self._restoring.cancel()

    def flush_buffers(self) -> None:
        """Nothing is buffered."""

    async def _next_assignment(self) -> None:
        """The group's leader may not have heard of a changelog that was created just now."""
        while not self.signal_recovery_start.is_set():
            await self.app.consumer.thread.refresh_metadata()
            await asyncio.sleep(0.5)

    async def _recover(self, generation: int) -> None:
        started = perf_counter()
        app, consumer, lanes = self.app, self.app.consumer, self.app.lanes
        self._set_recovery_started()
        changelogs = {tp.partition: tp for tp in self.active_tps}
        sources = {tp.partition: tp for tp in consumer.assignment() if tp.topic == app.shell.source}
        if changelogs.keys() != sources.keys():
            raise IllegalStateError(
                f"the group assigned partitions {sorted(sources)} of {app.shell.source}, but"
                f" {sorted(changelogs)} of its changelog"
            )
        app.observer.rebalanced(sources.keys())
        await lanes.take_over(sources.keys())
        restored = await self._restore(consumer, changelogs, started)
        expected = await self._positions(consumer, sources)
        if generation != app.consumer_generation_id:
            return
        consumer.stop_flow()
        await consumer.thread.set_positions({sources[p]: offset for p, offset in expected.items()})
        self._set_recovery_ended()
        for table in self.tables.values():
            await table.on_recovery_completed(self.active_tps, self.standby_tps)
        # Resuming the flow of queues clears them.
        app.flow_control.resume()
        consumer.release_all()
        lanes.start(consumer, expected)
        consumer.resume_partitions(set(sources.values()))
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        self._announce()
        app.observer.restored(restored)

    def _announce(self) -> None:
        self.completed.set()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        self.app.on_rebalance_end()

    async def _restore(
        self, consumer: ChunkConsumer, changelogs: dict[int, TP], started: float
    ) -> Restored:
        """Bring every assigned partition's store up to the end of its changelog."""
        thread, partitions = consumer.thread, self.app.partitions
        tps = set(changelogs.values())
        bounds = await _bounded(thread.log_bounds(tps), "asking where the changelog ends")
        ends = {tp: end for tp, (_, end) in bounds.items()}
        warm = {p: at for p in changelogs if (at := partitions.true_to(p)) is not None}
        positions = {}
        for partition, tp in changelogs.items():
            if partition not in warm:
                partitions.fresh(partition)
            positions[tp] = max(bounds[tp][0], warm.get(partition, 0))
        records = size = 0
        total = sum(max(0, ends[tp] - at) for tp, at in positions.items())
        await thread.set_positions(positions)
        reader = ChangelogReader(consumer, positions, ends)
        async for tp, rows in reader.chunks():
            if tp.partition in warm:
                # Somebody else has written since: what is in memory is history.
                del warm[tp.partition]
                partitions.fresh(tp.partition)
                await reader.restart(tp, bounds[tp][0])
                continue
            partitions.stores[tp.partition].restore([(row.key, row.value) for row in rows])
            records += len(rows)
            size += sum(row.serialized_value_size for row in rows)
            self.app.observer.restoring(total - reader.remaining, total)
        await thread.stop_reading(tps)
        for partition, tp in changelogs.items():
            if partition not in warm:
                partitions.stores[partition].recovered()
            partitions.leave(partition, ends[tp])
        return Restored(
            partitions=len(changelogs),
            warm=len(warm),
            records=records,
            bytes=size,
            seconds=perf_counter() - started,
        )

    async def _positions(self, consumer: ChunkConsumer, sources: dict[int, TP]) -> dict[int, int]:
        """Where each source partition is read from. The state decides, for it was committed with
        what it caused; without a state the group's committed offset does, else the log's begin.
        """
        tps = list(sources.values())
        bounds, committed = await _bounded(
            asyncio.gather(consumer.thread.log_bounds(tps), consumer.thread.committed(tps)),
            "asking for the source's offsets",
        )
        expected = {}
        for partition, tp in sources.items():
            begins, ends = bounds[tp]
            stated, stored = self.app.partitions.stores[partition].next_offset, committed[tp]
            if stated and stored not in (None, stated):
                log.warning(
                    "The state of %s-%d goes up to offset %d, the group's committed offset is %d;"
                    " the state counts.", *tp, stated, stored,
                )  # fmt: skip
            start = stated or stored or 0
            if start > ends:
                raise RuntimeError(
                    f"The state of {tp.topic}-{tp.partition} goes up to offset {start}, but the"
                    f" topic ends at {ends}: it was made anew. Use another app_id, or delete the"
                    f" changelog {self.app.shell.changelog} and the group with it."
                )
            if start < begins and start:
                log.error(
                    "Records %d to %d of %s-%d were deleted before they were processed: the"
                    " topic's retention is shorter than the time without a worker.",
                    start, begins - 1, *tp,
                )  # fmt: skip
            expected[partition] = max(start, begins)
        return expected


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
            for chunk in await self._thread.read(unread, 0.05, None):
                tp = TP(chunk.topic, chunk.partition)
                self._positions[tp] = chunk.end
                yield tp, chunk.rows
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


async def _bounded(work: Any, doing: str) -> Any:
    try:
        return await asyncio.wait_for(work, STALL_SECONDS)
    except TimeoutError:
        raise RecoveryStalled(
            f"Recovery got no answer within {STALL_SECONDS:.0f} s while {doing}."
        ) from None


class BulkTableManager(TableManager):
    """Faust's table manager with `BulkRecovery`."""

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = BulkRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        """Faust sleeps a second first; everything that tables need is up by now."""
        await self._update_channels()
        await self.recovery.start()
