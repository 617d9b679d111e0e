"""Events to Kafka: keyed by user, at a rate, every one of them acknowledged or accounted for."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from stream_app.files import FileEvent
from stream_app.pace import Pace
from stream_app.partitioning import partitions_of

RECORD_LIMIT_BYTES = 1_048_588 - 1_024
"""Kafka's default largest batch, less what surrounds a record in it."""

_CHUNK = 1_000  # events between two looks at the clock and at `stop`
_IN_FLIGHT = 64  # batches that wait for their acknowledgement
_TICK_SECONDS = 0.005  # sending single events more often than this costs more than it shows
_LONGEST_SLEEP_SECONDS = 0.1  # how late `stop` may be noticed


class Produced(NamedTuple):
    """What became of the events that were taken: sent ones were acknowledged by all replicas."""

    sent: tuple[int, ...]  # by partition
    oversized: int  # records that no broker would take; not sent
    interrupted: bool
    seconds: float

    @property
    def total(self) -> int:
        return sum(self.sent)


def producer_of(client: dict[str, Any]) -> AIOKafkaProducer:
    """A producer, not started, that neither loses nor doubles nor reorders what it sends.

    ``client`` holds the arguments of a connection.
    """
    return AIOKafkaProducer(
        **client,
        client_id="clickahead-produce",
        enable_idempotence=True,
        acks="all",
        max_batch_size=512 * 1024,
        linger_ms=0,
    )


async def produce(
    events: Iterable[FileEvent],
    producer: AIOKafkaProducer,
    topic: str,
    *,
    rate: float | None = None,
    progress: Callable[[int], None] | None = None,
    stop: asyncio.Event | None = None,
    record_limit_bytes: int = RECORD_LIMIT_BYTES,
    clock: Callable[[], float] = time.monotonic,
) -> Produced:
    """Send events in their order, ``rate`` a second (None: as fast as Kafka takes them).

    A user's events go to one partition, those without a user to partition 0. ``progress`` is told
    how many were acknowledged. ``stop`` ends the sending after what was taken is acknowledged.
    Raises KafkaError when the cluster refuses a batch for good.
    """
    sending = _Sending(producer, topic, len(await producer.partitions_for(topic)))
    remaining = iter(events)
    started = clock()
    pace = None if rate is None else Pace(rate, started)
    taken = oversized = 0
    while stop is None or not stop.is_set():
        due = _CHUNK if pace is None else min(pace.due(clock(), taken), _CHUNK)
        chunk = list(islice(remaining, due))
        if due and not chunk:
            break
        taken += len(chunk)
        fitting = [event for event in chunk if _size(event) <= record_limit_bytes]
        oversized += len(chunk) - len(fitting)
        await sending.send(fitting)
        if progress is not None:
            progress(sum(sending.acknowledged))
        if pace is not None:
            pace = pace.caught_up(clock(), taken)
            wait = pace.wait_seconds(clock(), taken)
            if wait > 0:
                await asyncio.sleep(min(max(wait, _TICK_SECONDS), _LONGEST_SLEEP_SECONDS))
    await sending.finish()
    if progress is not None:
        progress(sum(sending.acknowledged))
    return Produced(
        tuple(sending.acknowledged),
        oversized,
        stop is not None and stop.is_set(),
        clock() - started,
    )


class _Sending:
    """Batches on their way to one topic, acknowledged in any order."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._in_flight: deque[tuple[int, int, asyncio.Future[Any]]] = deque()
        self.acknowledged = [0] * partitions

    async def send(self, events: list[FileEvent]) -> None:
        """Append events to batches of their partitions and hand these to the producer."""
        placed: dict[int, list[FileEvent]] = {}
        numbers = partitions_of([event.key for event in events], len(self.acknowledged))
        for event, partition in zip(events, numbers.tolist(), strict=True):
            placed.setdefault(partition, []).append(event)
        for partition, own in placed.items():
            for batch in self._batches(own):
                future = await self._producer.send_batch(batch, self._topic, partition=partition)
                self._in_flight.append((partition, batch.record_count(), future))
        await self._settle(_IN_FLIGHT)

    async def finish(self) -> None:
        await self._settle(0)

    def _batches(self, events: list[FileEvent]) -> Iterator[Any]:
        batch = self._producer.create_batch()
        for event in events:
            if batch.append(timestamp=None, key=event.key, value=event.value) is None:
                yield batch
                # The first record of a batch is taken whatever its size.
                batch = self._producer.create_batch()
                batch.append(timestamp=None, key=event.key, value=event.value)
        batch.close()
        yield batch

    async def _settle(self, allowed: int) -> None:
        """Count what is acknowledged; wait until at most ``allowed`` batches are not."""
        while self._in_flight and (len(self._in_flight) > allowed or self._in_flight[0][2].done()):
            partition, records, future = self._in_flight.popleft()
            try:
                await future
            except BaseException:
                # Whoever is told of this failure must not be told of the others by the loop.
                await asyncio.gather(*(f for _, _, f in self._in_flight), return_exceptions=True)
                raise
            self.acknowledged[partition] += records


def _size(event: FileEvent) -> int:
    return len(event.key or b"") + len(event.value)
