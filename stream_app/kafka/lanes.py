"""All partitions of one worker: who owns them, what arrives for them, how they end."""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from aiokafka.errors import ConsumerStoppedError, IllegalStateError
from faust.types import TP

from stream_app.kafka.contract import Core
from stream_app.kafka.delivery import Committer, Delivery
from stream_app.kafka.group_offsets import GroupOffsets
from stream_app.kafka.inbox import Chunk, Inbox
from stream_app.kafka.lane import Lane, fixed_until
from stream_app.kafka.movement import Movement, Places
from stream_app.kafka.observer import Observer, Progress
from stream_app.kafka.producers import is_fenced
from stream_app.kafka.shell_config import ShellConfig
from stream_app.kafka.snapshots import Snapshots
from stream_app.kafka.store import Partitions
from stream_app.kafka.turns import Turns

log = logging.getLogger(__name__)

WAITING_BATCHES = 4
"""Full micro-batches that wait in an inbox before its partition is put on hold."""

DRAIN_SECONDS = 4.0
"""A delivery in flight gets so long when the partitions go or the worker stops."""

FENCED_GRACE_SECONDS = 15.0
"""A fenced worker hears of the new assignment within a heartbeat. One that does not was fenced by
something else, a transaction timeout for instance, and nobody would serve the partition."""


class PartitionFailed(RuntimeError):
    """A micro-batch could not be played or delivered; the worker has to start again."""


class Reader(Places, Protocol):
    """What lanes need of the consumer."""

    async def seek(self, partition: TP, offset: int) -> None: ...

    def on_buffer_full(self, tp: TP) -> None: ...

    def on_buffer_drop(self, tp: TP) -> None: ...


class Lanes:
    """Lanes by source partition, between one assignment and the next."""

    def __init__(
        self,
        config: ShellConfig,
        core: Core,
        partitions: Partitions,
        delivery: Delivery,
        offsets: GroupOffsets,
        snapshots: Snapshots,
        observer: Observer,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.config = config
        self.core = core
        self.partitions = partitions
        self.delivery = delivery
        self.offsets = offsets
        self.snapshots = snapshots
        self.observer = observer
        self._fail = fail
        self._turns = Turns()
        self._lanes: dict[int, Lane] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._committers: dict[int, Committer] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._seeking: set[int] = set()
        self._held: set[int] = set()
        self._reader: Reader | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._closed = False

    async def take_over(self, partitions: Collection[int]) -> None:
        """Become the one writer of these partitions and of no others, before they are restored."""
        await self._close_committers()
        opened = await asyncio.gather(
            *(self._open(partition) for partition in partitions), return_exceptions=True
        )
        if self._closed:
            await self._close_committers()
        for error in opened:
            if isinstance(error, BaseException):
                await self._close_committers()
                raise error

    async def _open(self, partition: int) -> None:
        self._committers[partition] = await self.delivery.open(partition)

    def start(self, reader: Reader, expected: Mapping[int, int], ends: Mapping[int, int]) -> None:
        """Process these partitions from these source offsets on; their stores are restored, and
        the source ended at ``ends`` when they were taken over."""
        self._reader = reader
        for partition, offset in expected.items():
            lane = Lane(
                self.config,
                self.core,
                partition,
                self.partitions.stores[partition],
                Inbox(offset),
                self._committers[partition],
                self.observer,
                self._turns,
                partial(self._release, partition),
                self.partitions.anchors.get(partition),
                fixed_until(self.config, offset, ends[partition]),
            )
            self._lanes[partition] = lane
            self._tasks[partition] = asyncio.create_task(self._run(partition, lane))
        self.offsets.forget()
        movement = Movement(self.config, reader, self._lanes, self.observer, self._stalled)
        self._keepers = [
            self._spawn(movement.keep()),
            self._spawn(self.offsets.keep(self._reached)),
            self._spawn(self.snapshots.keep(dict(self._lanes))),
        ]

    def _reached(self) -> dict[TP, int]:
        return {TP(self.config.source, p): lane.committed for p, lane in self._lanes.items()}

    async def _run(self, partition: int, lane: Lane) -> None:
        try:
            await lane.run()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if is_fenced(error):
                log.warning(
                    "%s-%d belongs to another worker now; nothing of the micro-batch from offset"
                    " %d on was committed here.",
                    self.config.source, partition, lane.committed,
                )  # fmt: skip
                self._spawn(self._after_fence(partition, lane))
                return
            failure = PartitionFailed(
                f"{self.config.source}-{partition}: a micro-batch after offset {lane.committed}"
                f" failed ({type(error).__name__}: {error}). Nothing is lost: the worker ends, and"
                " its next start goes on from there."
            )
            failure.__cause__ = error
            self._fail(failure)

    async def _after_fence(self, partition: int, lane: Lane) -> None:
        await asyncio.sleep(FENCED_GRACE_SECONDS)
        if self._lanes.get(partition) is lane:
            self._fail(
                PartitionFailed(
                    f"{self.config.source}-{partition} was fenced, yet the group still assigns it"
                    " to this worker: its transactional id"
                    f" {self.config.transactional_id(partition)} is in use elsewhere, or a"
                    " transaction ran into its timeout."
                )
            )

    def offer(self, chunk: Chunk) -> None:
        """Hand a chunk to its partition; what comes after a gap is read again, in order."""
        partition = chunk.partition
        lane = self._lanes.get(partition)
        if lane is None or partition in self._seeking:
            return
        if gap := lane.offer(chunk):
            log.warning(
                "Expected offset %d of %s-%d, got %d; reading again from %d.",
                gap.expected, chunk.topic, partition, gap.found, gap.expected,
            )  # fmt: skip
            self._seeking.add(partition)
            self._spawn(self._seek_back(TP(chunk.topic, partition), lane))
        elif lane.inbox.size >= WAITING_BATCHES * self.config.max_batch_events:
            self._hold(partition)

    async def _seek_back(self, tp: TP, lane: Lane) -> None:
        # Where the partition goes meanwhile, its next owner finds its own position.
        with suppress(IllegalStateError, ConsumerStoppedError):
            await self._seek_to_end_of(lane, tp)
        self._seeking.discard(tp.partition)

    async def _seek_to_end_of(self, lane: Lane, tp: TP) -> None:
        assert self._reader is not None  # noqa: S101 (a chunk came from it)
        expected = lane.inbox.end
        bounds = await self._reader.log_bounds([tp])
        begins, _ = bounds[tp]
        if begins > expected:
            log.error(
                "Records %d to %d of %s-%d were deleted before they were processed: the topic's"
                " retention is shorter than the lag.", expected, begins - 1, *tp,
            )  # fmt: skip
            lane.inbox.skip_to(begins)
        await self._reader.seek(tp, lane.inbox.end)

    def _hold(self, partition: int) -> None:
        if self._reader is not None and partition not in self._held:
            self._held.add(partition)
            self._reader.on_buffer_full(TP(self.config.source, partition))

    def _release(self, partition: int, waiting: int) -> None:
        if (
            self._reader is not None
            and partition in self._held
            and waiting <= self.config.max_batch_events
        ):
            self._held.discard(partition)
            self._reader.on_buffer_drop(TP(self.config.source, partition))

    async def drain(self) -> None:
        """Stop all lanes once what they have taken is delivered; keep the stores that stay true."""
        for keeper in self._keepers:
            keeper.cancel()
        for lane in self._lanes.values():
            lane.stop()
        tasks = [task for task in self._tasks.values() if not task.done()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
            for task in late:
                log.warning("A micro-batch was not delivered in time; its next owner repeats it.")
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.offsets.tell(self._reached())
        for partition, lane in self._lanes.items():
            if not lane.true:
                self.partitions.forget(partition)
            elif lane.delivered and lane.anchor is not None:
                self.partitions.leave(partition, lane.anchor)
        self._lanes.clear()
        self._tasks.clear()
        self._seeking.clear()
        self._held.clear()

    async def close(self) -> None:
        """Drain, and let go of the producers."""
        self._closed = True
        await self.drain()
        for task in self._background:
            task.cancel()
        await self._close_committers()
        await self.delivery.close()

    async def _close_committers(self) -> None:
        committers = list(self._committers.values())
        self._committers.clear()
        await asyncio.gather(
            *(committer.close() for committer in committers), return_exceptions=True
        )

    def _stalled(self, progress: Progress) -> None:
        lane = self._lanes[progress.partition]
        self._fail(
            PartitionFailed(
                f"{self.config.source}-{progress.partition} has not moved from offset"
                f" {lane.committed} for {self.config.stall_seconds:.0f} s, though"
                f" {progress.lag_records} records wait; the worker ends, and its next"
                " start goes on from there."
            )
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
