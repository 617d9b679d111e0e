"""Orders are written, and what became of them is read from the partitions' records."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream_app.core.partition_record import PARTITION_KEY, PartitionRecord
from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.topic_reader import POLL_MS, extents, partitions_of, reader

FIRST_LOOK_RECORDS = 64
"""How far from its end a changelog partition is first searched for its newest partition record."""


class RecordUnreadable(ValueError):
    """A changelog's partition record is of another program or version."""

    exit_code: ClassVar[int] = 1


async def write_order(connection: Connection, topic: str, key: bytes, value: bytes) -> int:
    """Write one record durably; its offset. Raises KafkaUnreachable."""
    producer = AIOKafkaProducer(**connection.client(), enable_idempotence=True)
    async with opened(producer, connection):
        written = await producer.send_and_wait(topic, value, key=key)
        return int(written.offset)


class Reports:
    """The newest record of each partition of a state's changelog, and those that follow."""

    def __init__(self, consumer: AIOKafkaConsumer, places: Collection[TopicPartition]) -> None:
        self._consumer = consumer
        self._places = list(places)
        self.newest: dict[int, PartitionRecord] = {}
        """By partition; one that nobody ever served has none."""

    @property
    def partitions(self) -> int:
        return len(self._places)

    async def find(self) -> None:
        """Search backwards from the ends, further and further, then stay at the ends."""
        whole = await extents(self._consumer, self._places)
        for place in self._places:
            begin, end = whole[place]
            look = FIRST_LOOK_RECORDS
            while begin < end:
                await self._scan(place, max(begin, end - look), end)
                if place.partition in self.newest or look >= end - begin:
                    break
                look *= 8
        for place in self._places:
            self._consumer.seek(place, whole[place].end)

    async def _scan(self, place: TopicPartition, start: int, end: int) -> None:
        self._consumer.seek(place, start)
        while await self._consumer.position(place) < end:
            chunks = await self._consumer.getmany(place, timeout_ms=POLL_MS)
            self._note(chunks)

    async def follow(self) -> Mapping[int, PartitionRecord]:
        """What is newest after one more look, which waits a moment where nothing comes."""
        self._note(await self._consumer.getmany(timeout_ms=POLL_MS))
        return self.newest

    def _note(self, chunks: Mapping[TopicPartition, list[Any]]) -> None:
        for place, rows in chunks.items():
            for row in rows:
                if row.key == PARTITION_KEY and row.value is not None:
                    self.newest[place.partition] = _decoded(row.value)


@asynccontextmanager
async def reports(connection: Connection, changelog: str) -> AsyncIterator[Reports]:
    """Raises TopicMissing where no worker ever ran under this application id."""
    async with reader(connection) as consumer:
        places = await partitions_of(consumer, changelog)
        consumer.assign(places)
        found = Reports(consumer, places)
        await found.find()
        yield found


async def applied(found: Reports, offset: int, seconds: float) -> bool:
    """Wait until every partition's record has taken in the order at ``offset``."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        behind = [p for p, record in found.newest.items() if record.as_of <= offset]
        if not behind and len(found.newest) == found.partitions:
            return True
        if asyncio.get_running_loop().time() > deadline:
            return False
        await found.follow()


def _decoded(value: bytes) -> PartitionRecord:
    try:
        return msgspec.msgpack.decode(value, type=PartitionRecord)
    except msgspec.MsgspecError as error:
        raise RecordUnreadable(
            f"The changelog holds a partition record that this version cannot read ({error})."
            " Use the version that the workers run."
        ) from None
