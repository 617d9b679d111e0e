"""One partition's way through a worker: take what has arrived, play it, deliver it, repeat.

Lanes of different partitions run side by side on the event loop: while one waits for its commit,
another plays. Within a lane the next micro-batch is played during the commit only when it is full;
smaller ones wait, and grow.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter, time
from typing import Any

from stream_app.core.batch import EventBatch, PackedRecords, Record
from stream_app.kafka.batch_limit import BatchLimit
from stream_app.kafka.contract import LATENCY, Core
from stream_app.kafka.delivery import Committer, Results
from stream_app.kafka.inbox import Chunk, Gap, Inbox, Taken
from stream_app.kafka.observer import Done, Observer
from stream_app.kafka.packing import Packed
from stream_app.kafka.record_batches import KeyValue
from stream_app.kafka.shell_config import ShellConfig
from stream_app.kafka.stages import Stages
from stream_app.kafka.store import Anchor
from stream_app.kafka.turns import Turns


class Lane:
    """Processes one partition from ``inbox`` until it is stopped.

    ``true`` says whether the store equals what the changelog holds up to ``anchor``: it does
    between two micro-batches, and no more once a delivery failed.
    """

    def __init__(
        self,
        config: ShellConfig,
        core: Core,
        partition: int,
        store: Any,
        inbox: Inbox,
        committer: Committer,
        observer: Observer,
        turns: Turns,
        taken: Callable[[int], None],
        anchor: Anchor | None = None,
        fixed_until: int = 0,
    ) -> None:
        self.config = config
        self.core = core
        self.partition = partition
        self.store = store
        self.inbox = inbox
        self.committer = committer
        self.observer = observer
        self.true = True
        self.anchor = anchor
        """The changelog's end as far as this lane wrote it, or found it."""
        self.played = self.delivered = 0
        """Micro-batches that the store has seen, and those of them that are committed."""
        self.committed = inbox.expected
        """Source offset behind what was delivered."""
        self._limit = BatchLimit(config.max_batch_events, config.batch_target_ms / 1000)
        self._turns = turns
        self._taken = taken
        self._fixed_until = fixed_until
        self._wake = asyncio.Event()
        self._stopping = False
        self._delivering: asyncio.Task[None] | None = None
        self._oldest_ms: int | None = None
        self._played_ms = 0
        self._begins = True

    @property
    def idle(self) -> bool:
        """Whether all that arrived is delivered."""
        return self._oldest_ms is None and not self.inbox.size

    @property
    def oldest_ms(self) -> int | None:
        """Timestamp of the oldest event that is not delivered, in epoch milliseconds."""
        return self.inbox.oldest_ms() if self._oldest_ms is None else self._oldest_ms

    def offer(self, chunk: Chunk) -> Gap | None:
        gap = self.inbox.offer(chunk)
        self._wake.set()
        return gap

    def stop(self) -> None:
        """Take nothing any more; what was taken is delivered."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Until `stop`. Raises whatever the core or the delivery raised."""
        steering = self.core.steering
        try:
            await steering.join(self.store, self._wake.set, self._fixed_until)
            while (taken := await self._next()) is not None:
                self.true = False
                if taken.rows and self._oldest_ms is None:
                    self._oldest_ms = taken.rows[0].timestamp
                clock, route = Stages(taken.received), steering.in_force(self.store)
                outputs, packed = self._play(taken, clock)
                await self._delivered()
                self._delivering = asyncio.create_task(
                    self._deliver(taken, outputs, packed, clock, route)
                )
                self._delivering.add_done_callback(lambda _: self._wake.set())
            await self._delivered()
        finally:
            steering.leave(self.store)
            if self._delivering is not None:
                self._delivering.cancel()

    async def _next(self) -> Taken | None:
        while not self._stopping:
            idle = self._delivering is None or self._delivering.done()
            if idle:
                await self._delivered()
            take = self._choose(idle)
            if take is not None:
                if idle:
                    self.committer.begin()
                # What arrives while others play is taken along.
                await self._turns.next()
                return take()
            self._wake.clear()
            await self._wake.wait()
        return None

    def _choose(self, idle: bool) -> Callable[[], Taken] | None:
        """What the next micro-batch is made of, if there is to be one now."""
        begins, self._begins = self._begins, False
        # What was ordered while nobody served the partition is in force from its first event,
        # unless an earlier owner may have answered that one already: see `fixed_until`.
        if begins and self._is_due():
            return self._take_nothing
        if idle and not self.inbox.size:
            # What holds no rows only moves the position.
            self.inbox.take(1)
        if self.inbox.size and (idle or self.inbox.size >= self._limit.events):
            return self._take_rows
        return self._take_nothing if idle and self._is_due() else None

    def _take_nothing(self) -> Taken:
        return Taken([], self.inbox.expected, perf_counter())

    def _take_rows(self) -> Taken:
        taken = self.inbox.take(self._limit.events)
        assert taken is not None  # noqa: S101 (nobody else takes, and it had rows)
        self._taken(self.inbox.size)
        return taken

    def _is_due(self) -> bool:
        return self.core.steering.is_due(self.store)

    async def _delivered(self) -> None:
        delivering, self._delivering = self._delivering, None
        if delivering is not None:
            await delivering

    def _play(self, taken: Taken, clock: Stages) -> tuple[Any, list[Packed]]:
        clock.mark("wait")
        batch = event_batch(self.config.source, self.partition, taken)
        outputs = self.core.play(batch, self.store, clock.mark)
        self.played += 1
        self._limit.played(len(taken.rows), clock.since_taken)
        header = (LATENCY, clock.header())
        results = Results(
            outputs={
                topic: _without_rows(getattr(outputs, field))
                for field, topic in self.config.outputs.items()
            },
            headers={self.config.outputs[field]: [header] for field in self.core.measured},
            changes=self.store.take_changes(),
            timestamp_ms=self._moment_ms(),
        )
        return outputs, self.committer.pack(results)

    def _moment_ms(self) -> int:
        """Now, and later than the micro-batch before: by its time it is known in every log."""
        self._played_ms = max(self._played_ms + 1, int(time() * 1000))
        return self._played_ms

    async def _deliver(
        self, taken: Taken, outputs: Any, packed: list[Packed], clock: Stages, route: Any
    ) -> None:
        end = await self.committer.commit(packed)
        self.anchor = Anchor(end, packed[-1].checksum)
        self.delivered += 1
        clock.mark("commit")
        self.committed = taken.end
        self.true = self.inbox.expected == taken.end
        if self.true:
            self._oldest_ms = None
        elif taken.rows:
            self._oldest_ms = taken.rows[-1].timestamp
        self.observer.batch(
            Done(
                partition=self.partition,
                outputs=outputs,
                timestamps_ms=[row.timestamp for row in taken.rows],
                done_ms=clock.done_ms,
                stage_seconds=clock.seconds,
                oversized=sum(topic.oversized for topic in packed),
                route=route,
                received_ms=clock.epochs_ms(taken.arrivals),
            )
        )


def fixed_until(config: ShellConfig, expected: int, ends: int) -> int:
    """Source offset below which an earlier owner may have published without committing.

    At least once, what was published stays: to come again byte for byte, it has to be played under
    what was in force then. That is at most one micro-batch, and nothing behind the topic's end.
    """
    if config.delivery == "exactly_once":
        return 0
    return min(expected + config.max_batch_events, ends)


def _without_rows(records: Sequence[Record]) -> Sequence[KeyValue] | PackedRecords:
    if isinstance(records, PackedRecords):
        return records
    return [(key, value) for _, key, value in records]


def event_batch(topic: str, partition: int, taken: Taken) -> EventBatch:
    """Rows to columns."""
    rows = taken.rows
    return EventBatch(
        topic=topic,
        partition=partition,
        offsets=[row.offset for row in rows],
        # A producer's own clock vouches for nothing.
        timestamps_ms=[row.timestamp if row.timestamp_type else -1 for row in rows],
        keys=[row.key for row in rows],
        values=[row.value for row in rows],
        headers=[row.headers for row in rows],
        next_offset=taken.end,
    )
