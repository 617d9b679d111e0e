"""How far the lanes are, reported every second, and which of them stand still."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from itertools import count
from time import monotonic, time
from typing import Protocol

from aiokafka.errors import KafkaError
from faust.types import TP

from stream_app.kafka.lane import Lane
from stream_app.kafka.observer import Observer, Progress
from stream_app.kafka.shell_config import ShellConfig

ENDS_EVERY_SECONDS = 10


class Places(Protocol):
    """Where the consumer is, and how far the source goes."""

    async def log_bounds(self, tps: Collection[TP]) -> dict[TP, tuple[int, int]]: ...

    def highwater(self, tp: TP) -> int | None: ...

    def position_of(self, tp: TP) -> int | None: ...


class Movement:
    """Reports on lanes, and calls ``stalled`` for the first that does not move though there is work
    for it."""

    def __init__(
        self,
        config: ShellConfig,
        reader: Places,
        lanes: Mapping[int, Lane],
        observer: Observer,
        stalled: Callable[[Progress], None],
    ) -> None:
        self._config = config
        self._reader = reader
        self._lanes = lanes
        self._observer = observer
        self._stalled = stalled
        self._ends: dict[TP, int] = {}

    async def keep(self) -> None:
        """Until it is cancelled, or a lane stands still."""
        moved = {p: (lane.committed, monotonic()) for p, lane in self._lanes.items()}
        asking: asyncio.Task[None] | None = None
        try:
            for second in count():
                if second % ENDS_EVERY_SECONDS == 0 and (asking is None or asking.done()):
                    asking = asyncio.create_task(self._ask_for_ends())
                    # A Kafka that hangs must not keep this from seeing that nothing moves.
                    await asyncio.wait([asking], timeout=1)
                if asking is not None and asking.done():
                    asking.result()
                for partition, lane in self._lanes.items():
                    self._observer.progress(progress := self._progress(partition, lane))
                    if not progress.lag_records or lane.committed != moved[partition][0]:
                        moved[partition] = (lane.committed, monotonic())
                    elif monotonic() - moved[partition][1] > self._config.stall_seconds:
                        self._stalled(progress)
                        return
                await asyncio.sleep(1)
        finally:
            if asking is not None:
                asking.cancel()

    async def _ask_for_ends(self) -> None:
        """Asked for, because a fetcher that hangs learns of no new records."""
        tps = [TP(self._config.source, partition) for partition in self._lanes]
        with suppress(KafkaError):
            bounds = await self._reader.log_bounds(tps)
            self._ends.update((tp, end) for tp, (_, end) in bounds.items())

    def _progress(self, partition: int, lane: Lane) -> Progress:
        tp = TP(self._config.source, partition)
        done = lane.committed
        if lane.idle:
            # Behind the last record there may be transaction markers, which nobody delivers.
            done = max(done, self._reader.position_of(tp) or 0)
        lag = max(0, self._reader.highwater(tp) or 0, self._ends.get(tp, 0)) - done
        seconds = 0.0
        if lag > 0 and (oldest_ms := lane.oldest_ms) is not None:
            seconds = max(0.0, time() - oldest_ms / 1000)
        return Progress(partition, lane.store, done, max(0, lag), seconds)
