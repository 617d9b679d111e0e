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
from typing import TYPE_CHECKING

from aiokafka.errors import IllegalStateError
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP
from mode import Service

from stream_app.kafka.consumer import ChunkConsumer
from stream_app.kafka.restore import Restore, bounded

if TYPE_CHECKING:
    from stream_app.kafka.application import Application

log = logging.getLogger(__name__)


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
                await bounded(self._next_assignment(), f"waiting for one that helps: {error}")
            finally:
                self._restoring = None

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Faust applies the changelog record by record here; `_restart_recovery` does it all."""

    @Service.task
    async def _publish_stats(self) -> None:
        """Progress is told by `Restore`."""

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
        restore = Restore(consumer, app.partitions, app.snapshots, app.observer)
        restored = await restore.run(changelogs, started)
        expected, ends = await self._positions(consumer, sources)
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
        lanes.start(consumer, expected, ends)
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

    async def _positions(
        self, consumer: ChunkConsumer, sources: dict[int, TP]
    ) -> tuple[dict[int, int], dict[int, int]]:
        """Where each source partition is read from, and where it ends by now. The state decides,
        for it was committed with what it caused; without a state the group's committed offset
        does, else the log's begin.
        """
        tps = list(sources.values())
        bounds, committed = await bounded(
            asyncio.gather(consumer.thread.log_bounds(tps), consumer.thread.committed(tps)),
            "asking for the source's offsets",
        )
        expected = {}
        for partition, tp in sources.items():
            begins, ends = bounds[tp]
            stated, stored = self.app.partitions.stores[partition].next_offset, committed[tp]
            if stated and (stored or 0) > stated:
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
        return expected, {partition: bounds[tp][1] for partition, tp in sources.items()}


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
