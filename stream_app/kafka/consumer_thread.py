"""The thread in which aiokafka's consumer lives: chunks with the positions they were read from.

Faust keeps the consumer in a thread of its own, so that heartbeats go on while the main loop
computes. Everything here that touches aiokafka runs in that thread.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic, perf_counter
from typing import Any, TypeVar

import aiokafka
from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, OffsetOutOfRangeError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from stream_app.kafka.fetched import Fetches
from stream_app.kafka.inbox import Chunk
from stream_app.kafka.shell_config import ShellConfig

log = logging.getLogger(__name__)

T = TypeVar("T")

IDLE_POLL_MS = 300_000
"""A worker whose main loop does not poll for so long leaves the group: others take over."""

LEAVE_SECONDS = 2.0
CLOSE_SECONDS = 0.5


class ConsumerThread(AIOKafkaConsumerThread):
    """Reads committed records, from positions that somebody set and from no others."""

    def __init__(self, consumer: Any, config: ShellConfig, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self.config = config
        self._read_from: dict[TP, int] = {}
        self._readers: set[asyncio.Task[Any]] = set()

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf, config = self.app.conf, self.config
        self._assignor = self.app.assignor
        return aiokafka.AIOKafkaConsumer(
            **config.client,
            client_id=f"{conf.id}-consumer",
            group_id=conf.id,
            group_instance_id=config.instance_id,
            partition_assignment_strategy=[self._assignor],
            isolation_level="read_committed",
            enable_auto_commit=False,
            # A reset that nobody asked for would pass over records, or repeat them.
            auto_offset_reset="none",
            # While one partition's records wait here, others are fetched without it, and new
            # records of it have to wait for that fetch to end.
            fetch_max_wait_ms=100,
            session_timeout_ms=config.session_timeout_ms,
            heartbeat_interval_ms=config.heartbeat_interval_ms,
            rebalance_timeout_ms=config.rebalance_timeout_ms,
            max_poll_interval_ms=IDLE_POLL_MS,
        )

    async def on_start(self) -> None:
        await super().on_start()
        self._ensure_consumer()._fetcher._records = Fetches()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Nothing is fetched of a partition before recovery has set its position."""
        self._interrupt()
        self._read_from.clear()
        self._ensure_consumer().pause(*_plain(assigned))
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_thread_stop(self) -> None:
        # A wait that cancels would go on until the cancelled one has ended, and aiokafka's end
        # takes a cancellation of its own for one of the tasks that it waits for.
        leaving = asyncio.ensure_future(super().on_thread_stop())
        await asyncio.wait([leaving], timeout=LEAVE_SECONDS)
        if leaving.done():
            leaving.result()
            return
        # A join that is under way ends only when the whole group has joined.
        log.warning("The group did not let go in time; it notices that this member is gone.")
        closing = asyncio.ensure_future(self._ensure_consumer()._client.close())
        await asyncio.wait([closing], timeout=CLOSE_SECONDS)

    async def _gather_remaining_tasks(self) -> None:
        """What is left of aiokafka ends, or is left alone after a while.

        Faust cancels once and waits. In Python 3.11 `asyncio.wait_for` loses a cancellation that
        comes together with the answer, and where no broker is up every answer comes at once: the
        thread would go on asking for ever, and the process with it.
        """
        current, deadline = asyncio.current_task(), monotonic() + CLOSE_SECONDS
        while monotonic() < deadline:
            tasks = asyncio.all_tasks(self.thread_loop) - {current}
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=0.1)

    def _stopped_set(self) -> None:
        # A thread that crashed has ended by itself, and nobody listens.
        if not self.thread_loop.is_closed():
            super()._stopped_set()

    async def call(self, method: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        """Run in this thread, awaited from the main loop. Raises ConsumerStoppedError.

        Faust's own queue has two workers; two long polls would keep a seek waiting.
        """
        if self.thread_loop.is_closed():
            raise ConsumerStoppedError
        future = asyncio.run_coroutine_threadsafe(method(*arguments), self.thread_loop)
        return await asyncio.wrap_future(future)

    async def read(self, tps: frozenset[TP], wait: float, max_rows: int | None) -> list[Chunk]:
        """What has arrived of these partitions; waits at most ``wait`` seconds for the first.

        Raises aiokafka's errors where the group or a partition cannot be read any more.
        """
        return await self.call(self._read, tps, wait, max_rows)

    async def _read(self, tps: frozenset[TP], wait: float, max_rows: int | None) -> list[Chunk]:
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher
        # Polling aiokafka's fetcher directly would leave errors of its coordinator unread.
        consumer._coordinator.check_errors()
        # An empty set means every partition to aiokafka.
        tps = tps & self._read_from.keys()
        with consumer._subscription.fetch_context(), self._interruptible() as interrupted:
            if not tps:
                await asyncio.sleep(wait)
                return []
            try:
                drained = await fetcher.fetched_records(tps, timeout=wait, max_records=max_rows)
            except OffsetOutOfRangeError as error:
                await self._after_truncation(error)
                return []
        if interrupted:
            return []
        received = perf_counter()
        return [
            self._chunk(TP(*tp), rows, received)
            for tp, rows in drained.items()
            if tp in self._read_from
        ]

    @contextmanager
    def _interruptible(self) -> Iterator[list[bool]]:
        """A read that began before a seek must not take what follows it: nobody would expect that.

        Records are taken from aiokafka only as its call returns, so that a cancelled one took none.
        """
        task = asyncio.current_task()
        interrupted: list[bool] = []
        assert task is not None  # noqa: S101 (a coroutine runs in a task)
        self._readers.add(task)
        try:
            yield interrupted
        except asyncio.CancelledError:
            if task in self._readers:
                raise
            task.uncancel()
            interrupted.append(True)
        finally:
            self._readers.discard(task)

    def _interrupt(self) -> None:
        readers, self._readers = self._readers, set()
        for task in readers:
            task.cancel()

    def _chunk(self, tp: TP, rows: list[Any], received: float) -> Chunk:
        # Nothing was awaited since the rows were drained, so the position is the one behind them.
        end = self._position(tp)
        start, self._read_from[tp] = self._read_from[tp], end
        return Chunk(tp.topic, tp.partition, start, end, rows, received)

    def _position(self, tp: TP) -> int:
        assignment = self._ensure_consumer()._subscription.subscription.assignment
        position: int = assignment.state_value(tp).position
        return position

    async def _after_truncation(self, error: OffsetOutOfRangeError) -> None:
        """Go on where the log begins now; who processes the chunks sees the gap."""
        (lost,) = error.args
        begins = await self._ensure_consumer().beginning_offsets(list(lost))
        for tp, offset in lost.items():
            log.error(
                "Offset %d of %s-%d is not in the log; the log begins at %d.",
                offset, tp.topic, tp.partition, begins[tp],
            )  # fmt: skip
            self._seek(TP(*tp), max(offset, begins[tp]))

    def position_of(self, tp: TP) -> int | None:
        """The offset behind all chunks of a partition so far, None where it is not being read."""
        return self._read_from.get(tp)

    async def set_positions(self, positions: Mapping[TP, int]) -> None:
        """Read these partitions, from there on. Raises IllegalStateError when one is not ours."""
        await self.call(self._set_positions, positions)

    async def _set_positions(self, positions: Mapping[TP, int]) -> None:
        self._interrupt()
        for tp, offset in positions.items():
            self._seek(tp, offset)
            self._ensure_consumer().resume(*_plain([tp]))

    def _seek(self, tp: TP, offset: int) -> None:
        self._ensure_consumer().seek(*_plain([tp]), offset)
        self._read_from[tp] = offset

    async def stop_reading(self, tps: Collection[TP]) -> None:
        """Fetch nothing of these partitions from now on."""
        await self.call(self._stop_reading, tps)

    async def _stop_reading(self, tps: Collection[TP]) -> None:
        self._ensure_consumer().pause(*_plain(tps))
        for tp in tps:
            self._read_from.pop(tp, None)

    async def positions(self, tps: Collection[TP]) -> dict[TP, int]:
        """Up to where each of these partitions has been read, markers and holes included."""
        return await self.call(self._positions, tps)

    async def _positions(self, tps: Collection[TP]) -> dict[TP, int]:
        return {tp: self._position(tp) for tp in tps}

    async def log_bounds(self, tps: Collection[TP]) -> dict[TP, tuple[int, int]]:
        """Where each log begins, and where its committed part ends."""
        return await self.call(self._log_bounds, tps)

    async def _log_bounds(self, tps: Collection[TP]) -> dict[TP, tuple[int, int]]:
        consumer = self._ensure_consumer()
        begins, ends = await asyncio.gather(
            consumer.beginning_offsets(list(tps)), consumer.end_offsets(list(tps))
        )
        return {tp: (begins[tp], ends[tp]) for tp in tps}

    async def committed(self, tps: Collection[TP]) -> dict[TP, int | None]:
        """The group's committed offset of each partition."""
        return await self.call(self._committed, tps)

    async def _committed(self, tps: Collection[TP]) -> dict[TP, int | None]:
        coordinator = self._ensure_consumer()._coordinator
        found = await coordinator.fetch_committed_offsets(_plain(tps))
        return {tp: found[tp].offset if tp in found else None for tp in tps}

    async def refresh_metadata(self) -> None:
        """Ask the brokers for their topics; the group joins anew where they have changed."""
        await self.call(self._refresh_metadata)

    async def _refresh_metadata(self) -> None:
        await self._ensure_consumer()._client.force_metadata_update()

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> None:
        """Commit for the group. Raises CommitFailedError when the group has moved on."""
        plain = dict(zip(_plain(offsets), offsets.values(), strict=True))
        await self.call(self._ensure_consumer().commit, plain)


def _plain(tps: Iterable[TP]) -> list[TopicPartition]:
    """aiokafka insists on its own type."""
    return [TopicPartition(*tp) for tp in tps]
