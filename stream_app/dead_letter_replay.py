"""Dead letters to the input topic again, each once.

A copy carries the name of the record that was rejected in a header. Before anything is sent, the
input topic is read from the oldest wanted record on, and what has a copy there is passed over: a
replay that was interrupted goes on where it stopped. All replays of an input topic share one
transactional id, so a second one ends the first, and no copy is missed because it was under way.

The limit of this: a copy that the input topic's retention has deleted cannot be seen, and neither
can one that was sent without the header. The worker reads committed records only; who reads the
input topic otherwise may see twice what a killed replay had under way, half a thousand at most.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, ClassVar, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from stream_app.core.events import RejectedRecord, Source
from stream_app.dead_letter_topic import Selection, letters
from stream_app.dead_letters import Original, decode_whole, is_same, original, replayed_from
from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.producers import is_fenced, let_go
from stream_app.kafka.shell_config import BATCH_BYTES
from stream_app.kafka.topic_reader import (
    Extent,
    extents,
    read_partition,
    reader,
    record_at,
)
from stream_app.pace import Pace
from stream_app.progress import Report
from stream_app.source_names import source_name

LARGEST_CHUNK = 500
LARGEST_RECORD_BYTES = 64 * 1024 * 1024
CHUNK_SECONDS = 0.1  # of the rate: how long a stop waits, and how even the flow is


class ReplayEnded(RuntimeError):
    """Kafka let the replay go no further; what was sent is whole."""

    exit_code: ClassVar[int] = 1


class Resent(NamedTuple):
    """What became of a selection."""

    sent: int
    before: int  # have a copy in the input topic already
    lost: list[str]  # cut in the dead letter, and not in the input topic any more: their names
    interrupted: bool


async def resend(
    connection: Connection,
    events: str,
    selection: Selection,
    *,
    limit: int | None,
    rate: float,
    dry: bool,
    report: Report,
    stop: asyncio.Event,
    clock: Callable[[], float] = time.monotonic,
) -> Resent:
    """Send the selection to the input topic, oldest first, into the partitions they came from.

    ``limit`` bounds the records that are sent, ``rate`` their number a second. ``dry`` does all
    but send. ``stop`` ends it between two transactions.

    Raises:
        ReplayEnded: somebody else replays the same topic now, or Kafka refuses a record.
        TopicMissing, TopicStalled: as reading does.
    """
    chunk_size = max(1, min(LARGEST_CHUNK, int(rate * CHUNK_SECONDS)))
    try:
        async with AsyncExitStack() as clients:
            producer = None if dry else _producer(connection, events)
            if producer is not None:
                clients.push_async_callback(let_go, producer)
                # From here on what earlier replays sent is decided: it is in the topic or never.
                await clients.enter_async_context(opened(producer, connection))
            letters_reader = await clients.enter_async_context(reader(connection))
            events_reader = await clients.enter_async_context(reader(connection, wait_ms=20))
            copies = await _copies(connection, events_reader, events, selection.oldest, report)
            sending = _Sending(events, copies, producer, Pace(rate, clock()), clock)
            found = letters(letters_reader, selection.held, lambda done, total: None)
            async for record, letter in found:
                if stop.is_set() or (limit is not None and sending.taken >= limit):
                    break
                if selection.wanted.has(letter) and letter.partition in selection.oldest:
                    await sending.take(decode_whole(record.value), events_reader)
                    report("sending", sending.looked_at, selection.records)
                if len(sending.waiting) >= chunk_size:
                    await sending.flush()
            await sending.flush()
    except KafkaError as error:
        cause = (
            f"Another replay to {events} has begun, which ended this one"
            if is_fenced(error)
            else f"Kafka refused to go on ({error})"
        )
        raise ReplayEnded(
            f"{cause}. What was sent is whole; the next `clickahead rejected replay` goes on there."
        ) from error
    return Resent(sending.sent, sending.before, sending.lost, stop.is_set())


class _Sending:
    """Copies on their way, a transaction for each chunk."""

    def __init__(
        self,
        topic: str,
        copies: set[tuple[int, int]],
        producer: AIOKafkaProducer | None,
        pace: Pace,
        clock: Callable[[], float],
    ) -> None:
        self.waiting: list[tuple[Source, Original]] = []
        self.looked_at = self.taken = self.sent = self.before = 0
        self.lost: list[str] = []
        self._topic, self._copies, self._producer = topic, copies, producer
        self._pace, self._clock = pace, clock

    async def take(self, letter: RejectedRecord, events: AIOKafkaConsumer) -> None:
        """Decide on one dead letter; ``events`` reads originals where the letter was cut."""
        if letter.topic != self._topic:
            return
        self.looked_at += 1
        place = (letter.partition, letter.offset)
        if place in self._copies:
            self.before += 1
            return
        source = Source(letter.topic, letter.partition, letter.offset)
        found = original(letter) or await _fetched(events, letter)
        if found is None:
            self.lost.append(source_name(source))
            return
        # In at_least_once a dead letter may be there twice.
        self._copies.add(place)
        self.waiting.append((source, found))
        self.taken += 1

    async def flush(self) -> None:
        """Send what waits, when it is due."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        if self._producer is not None:
            while self._pace.due(self._clock(), self.sent) < len(waiting):  # noqa: ASYNC110 (a clock)
                await asyncio.sleep(0.01)
            await _transaction(self._producer, self._topic, waiting)
            self._pace = self._pace.caught_up(self._clock(), self.sent + len(waiting))
        self.sent += len(waiting)


async def _transaction(
    producer: AIOKafkaProducer, topic: str, copies: list[tuple[Source, Original]]
) -> None:
    placed: dict[int, list[tuple[Source, Original]]] = {}
    for source, record in copies:
        placed.setdefault(source.partition, []).append((source, record))
    async with producer.transaction():
        # The partition is said: a key leads there only by the hash of its first producer.
        sent = [
            await producer.send_batch(batch, topic, partition=partition)
            for partition, own in placed.items()
            for batch in _batches(producer, own)
        ]
        await asyncio.gather(*sent)


def _batches(producer: AIOKafkaProducer, copies: list[tuple[Source, Original]]) -> Iterator[Any]:
    """Record batches, for a single record with neither key nor value would be refused."""
    batch = None
    for source, record in copies:
        content = {"key": record.key, "value": record.value, "headers": record.again(source)}
        if batch is None or batch.append(timestamp=None, **content) is None:
            if batch is not None:
                yield batch
            # The first record of a batch is taken whatever its size.
            batch = producer.create_batch()
            batch.append(timestamp=None, **content)
    yield batch


async def _copies(
    connection: Connection,
    consumer: AIOKafkaConsumer,
    topic: str,
    oldest: Mapping[int, int],
    report: Report,
) -> set[tuple[int, int]]:
    """Partition and offset of every rejected record that has a copy behind it in the topic."""
    partitions = [TopicPartition(topic, partition) for partition in sorted(oldest)]
    held = await extents(consumer, partitions)
    # Up to the very end: somebody else's open transaction may hide a copy that lies behind it.
    ends = await _high_watermarks(connection, partitions)
    found: set[tuple[int, int]] = set()
    spans = {p: Extent(max(held[p].begin, oldest[p.partition] + 1), ends[p]) for p in partitions}
    passed, total = 0, sum(max(0, span.end - span.begin) for span in spans.values())
    for partition, span in spans.items():
        async for chunk in read_partition(consumer, partition, span):
            for record in chunk:
                source = replayed_from(record.headers) if record.headers else None
                if source is not None and source.topic == topic:
                    found.add((source.partition, source.offset))
            if chunk:
                done = passed + chunk[-1].offset + 1 - span.begin
                report("looking for copies", done, total)
        passed += max(0, span.end - span.begin)
    return found


async def _high_watermarks(
    connection: Connection, partitions: list[TopicPartition]
) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(**connection.client(), group_id=None, enable_auto_commit=False)
    async with opened(consumer, connection):
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        return ends


async def _fetched(consumer: AIOKafkaConsumer, letter: RejectedRecord) -> Original | None:
    """The whole record behind a dead letter that was cut, where it is still there."""
    record = await record_at(
        consumer, TopicPartition(letter.topic, letter.partition), letter.offset
    )
    if record is None:
        return None
    found = Original(record.key, record.value, record.headers)
    return found if is_same(letter, found) else None


def _producer(connection: Connection, topic: str) -> AIOKafkaProducer:
    arguments: dict[str, Any] = connection.client()
    return AIOKafkaProducer(
        **arguments,
        client_id="clickahead-rejected-replay",
        transactional_id=f"clickahead-rejected-replay-{topic}",
        acks="all",
        # A record that was too large for the worker may be of any size that the topic takes.
        max_request_size=LARGEST_RECORD_BYTES,
        max_batch_size=BATCH_BYTES,
        retry_backoff_ms=20,
    )
