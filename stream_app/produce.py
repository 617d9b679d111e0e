"""Events to Kafka: keyed by user, at a rate, every one of them acknowledged or accounted for."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from stream_app.files import FileEvent
from stream_app.pace import CHUNK
from stream_app.partitioning import partitions_of

RECORD_LIMIT_BYTES = 1_048_588 - 1_024
"""Kafka's default largest batch, less what surrounds a record in it."""

_IN_FLIGHT = 64  # batches that wait for their acknowledgement
_TICK_SECONDS = 0.005  # sending single events more often than this costs more than it shows


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
    chunks: Iterable[Sequence[FileEvent]],
    producer: AIOKafkaProducer,
    topic: str,
    *,
    progress: Callable[[int], None] | None = None,
    stop: asyncio.Event | None = None,
    record_limit_bytes: int = RECORD_LIMIT_BYTES,
    clock: Callable[[], float] = time.monotonic,
) -> Produced:
    """Send events in their order, a chunk whenever one is due.

    ``chunks`` come from ``stream_app.pace`` (``at_once``, ``at_rate``); an empty one means that
    nothing is due, and asks to look again soon. A user's events go to one partition, those without
    a user to partition 0. ``progress`` is told how many were acknowledged. ``stop`` ends the
    sending once what was taken is acknowledged. Raises KafkaError when the cluster refuses a batch
    for good.
    """
    sending = _Sending(producer, topic, len(await producer.partitions_for(topic)))
    started = clock()
    oversized = 0
    for chunk in chunks:
        fitting = [event for event in chunk if _size(event) <= record_limit_bytes]
        oversized += len(chunk) - len(fitting)
        await sending.send(fitting)
        if progress is not None:
            progress(sum(sending.acknowledged))
        # A chunk that is not full has brought the sender up to date.
        await asyncio.sleep(0 if len(chunk) == CHUNK else _TICK_SECONDS)
        if stop is not None and stop.is_set():
            break
    await sending.finish()
    if progress is not None:
        progress(sum(sending.acknowledged))
    interrupted = stop is not None and stop.is_set()
    return Produced(tuple(sending.acknowledged), oversized, interrupted, clock() - started)


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
