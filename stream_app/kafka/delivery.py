"""How the results of a micro-batch reach Kafka: all of them, once or at least once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer, TopicPartition

from stream_app.core.batch import PackedRecords
from stream_app.kafka.packing import Packed, pack
from stream_app.kafka.producers import (
    let_go,
    take_over_log,
    take_over_with_markers,
)
from stream_app.kafka.record_batches import Header, KeyValue
from stream_app.kafka.sending import send
from stream_app.kafka.shell_config import ShellConfig


class Results(NamedTuple):
    """What a micro-batch of one partition leaves behind."""

    outputs: Mapping[str, Sequence[KeyValue] | PackedRecords]  # topic to records
    headers: Mapping[str, list[Header]]  # of every record of a topic
    changes: Sequence[KeyValue]  # the state's changelog records, partition record included
    timestamp_ms: int


class StateTooLarge(RuntimeError):
    """A state record is larger than the changelog takes; without it a restart would lose state."""


class Committer(Protocol):
    """Delivers one partition's results, micro-batch by micro-batch."""

    asks_ahead: bool
    """Whether `begin` does anything."""

    def begin(self) -> None:
        """Ask the brokers for what a delivery needs besides its results, before there are any; what
        they answer, `commit` hears. Only between two deliveries, and `commit` comes next.
        """

    def pack(self, results: Results) -> list[Packed]:
        """The record batches; the changelog's come last. Raises StateTooLarge."""

    async def commit(self, packed: list[Packed]) -> int:
        """Deliver. On return the results will survive anything; on an exception nobody knows.

        Returns the changelog offset behind the last record.
        """

    async def close(self) -> None: ...


class Delivery(Protocol):
    """A guarantee, as a way to make committers."""

    async def open(self, partition: int) -> Committer:
        """Become the one writer of a partition: see `producers.take_over`."""

    async def close(self) -> None: ...


class ExactlyOnce:
    """One transaction per micro-batch: outputs and changelog, in whose partition record the source
    offset is, or nothing."""

    def __init__(self, config: ShellConfig) -> None:
        self.config = config

    async def open(self, partition: int) -> Committer:
        topics = (*self.config.outputs.values(), self.config.changelog)
        logs = [TopicPartition(topic, partition) for topic in topics]
        producer = await take_over_with_markers(self.config, partition, logs)
        return Transactional(self.config, partition, producer)

    async def close(self) -> None:
        """Every committer closes its own producer."""


class Transactional:
    """The committer of `ExactlyOnce`."""

    asks_ahead = True

    def __init__(self, config: ShellConfig, partition: int, producer: AIOKafkaProducer) -> None:
        self.config = config
        self.partition = partition
        self.producer = producer
        self._expected: list[TopicPartition] = []
        self._beginning: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._beginning = asyncio.create_task(self._begin())

    async def _begin(self) -> None:
        """Open the transaction with the partitions that the last one wrote to: the coordinator
        takes them in while the results are made. One that gets none has a marker, and no more; and
        where a broker in trouble left the last one without its marker, this one ends it.
        """
        await self.producer.begin_transaction()
        for tp in self._expected:
            self.producer._txn_manager.maybe_add_partition_to_txn(tp)

    def pack(self, results: Results) -> list[Packed]:
        create = self.producer.create_batch
        return [
            *_pack_outputs(self.config, create, results),
            _pack_changes(self.config, create, results),
        ]

    async def commit(self, packed: list[Packed]) -> int:
        beginning, self._beginning = self._beginning, None
        await (self._begin() if beginning is None else beginning)
        changelog_end = await send(self.producer, packed, self.partition)
        self._expected = [TopicPartition(p.topic, self.partition) for p in packed if p.batches]
        await self.producer.commit_transaction()
        return changelog_end

    async def close(self) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.gather(self._beginning, return_exceptions=True)
        await let_go(self.producer)


class AtLeastOnce:
    """Outputs first, then the state with the offset in it, each acknowledged before the next."""

    def __init__(self, config: ShellConfig) -> None:
        self.config = config

    async def open(self, partition: int) -> Committer:
        changelog = TopicPartition(self.config.changelog, partition)
        transactional, plain = await take_over_log(self.config, partition, changelog)
        return Acknowledged(plain, Transactional(self.config, partition, transactional))

    async def close(self) -> None:
        """Every committer closes its own producers."""


class Acknowledged:
    """The committer of `AtLeastOnce`.

    The changes of a micro-batch have to become visible at once, partition record included: half of
    them would apply events twice to the other half. One record batch is atomic in Kafka. Where one
    is too small (a late watermark may close thousands of sessions), a transaction is used.

    Either way they are written under the partition's transactional id: a worker that slept through
    the loss of its partition, and wakes with a micro-batch in hand, is refused by the changelog. So
    are the outputs, through a producer of this partition alone: one has a single request under way
    to a broker, and partitions that shared it waited for one another.
    """

    asks_ahead = False

    def __init__(self, plain: AIOKafkaProducer, transactional: Transactional) -> None:
        self.config = transactional.config
        self.plain = plain
        self.transactional = transactional

    def begin(self) -> None:
        """Nothing is needed."""

    def pack(self, results: Results) -> list[Packed]:
        create = self.plain.create_batch
        changes = _pack_changes(self.config, create, results)
        if len(changes.batches) > 1:
            changes = _pack_changes(self.config, self.transactional.producer.create_batch, results)
        return [*_pack_outputs(self.config, create, results), changes]

    async def commit(self, packed: list[Packed]) -> int:
        partition, (*outputs, changes) = self.transactional.partition, packed
        await send(self.plain, outputs, partition)
        if len(changes.batches) > 1:
            return await self.transactional.commit([changes])
        return await send(self.plain, [changes], partition)

    async def close(self) -> None:
        await asyncio.gather(let_go(self.plain), self.transactional.close())


def _pack_outputs(
    config: ShellConfig, create_batch: Callable[[], Any], results: Results
) -> list[Packed]:
    return [
        pack(
            create_batch,
            topic,
            records,
            results.timestamp_ms,
            config.record_limit(topic),
            results.headers.get(topic, []),
        )
        for topic, records in results.outputs.items()
        if records
    ]


def _pack_changes(config: ShellConfig, create_batch: Callable[[], Any], results: Results) -> Packed:
    limit = config.record_limit(config.changelog)
    packed = pack(create_batch, config.changelog, results.changes, results.timestamp_ms, limit, [])
    if packed.oversized:
        largest = max(len(value or b"") for _, value in results.changes)
        raise StateTooLarge(
            f"A state record of {largest} bytes does not fit into {config.changelog}, which takes"
            f" {limit}; raise the topic's max.message.bytes."
        )
    return packed
