"""Dead letters on a real Kafka: each sent again once, whatever ended the replay before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.core.batch import EventBatch
from stream_app.core.clean import Rejected
from stream_app.core.decide import rejected_record
from stream_app.dead_letter_replay import ReplayEnded, Resent, resend
from stream_app.dead_letter_topic import select
from stream_app.dead_letters import REPLAYED_FROM, Wanted
from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.topic_admin import create_missing
from stream_app.kafka.topics import TopicSpec
from tests.kafka.ledger import read_all

pytestmark = pytest.mark.kafka

PARTITIONS = 2
LARGE = b"x" * 70_000
INPUT: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
    (0, b"k", b"\xff\x00", [("trace", b"\x01")]),
    (1, b"k", b"{", []),  # not where the key's hash would put it
    (1, None, b"[", []),
    (0, b"k", LARGE, []),
    (0, None, None, []),
]


class Stream:
    """Input records, each of them rejected."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self.connection = Connection((kafka,))
        self.kafka, self.events, self.rejected = kafka, f"{prefix}events", f"{prefix}rejected"
        self.said: list[str] = []

    async def fill(self, *, keep_large: bool = True) -> None:
        specs = [TopicSpec("", name, PARTITIONS, {}) for name in (self.events, self.rejected)]
        admin = AIOKafkaAdminClient(**self.connection.client())
        async with opened(admin, self.connection):
            await create_missing(admin, specs, 1)
        async with self.producer() as producer:
            for partition, key, value, headers in INPUT:
                lies = b"other" if value is LARGE and not keep_large else value
                sent = await self.send(producer, partition, key, lies, headers)
                batch = EventBatch(
                    topic=self.events, partition=partition, offsets=[sent.offset],
                    timestamps_ms=[-1], keys=[key], values=[value], headers=[headers],
                    next_offset=sent.offset + 1,
                )  # fmt: skip
                reason = "size" if value is LARGE else "syntax"
                letter = rejected_record(batch, 0, Rejected(reason, ""))  # type: ignore[arg-type]
                encoded = msgspec.json.encode(letter)
                await producer.send_and_wait(self.rejected, encoded, partition=partition)

    async def send(self, producer: Any, partition: int, *content: Any) -> Any:
        batch = producer.create_batch()
        key, value, headers = content
        batch.append(timestamp=None, key=key, value=value, headers=headers)
        return await (await producer.send_batch(batch, self.events, partition=partition))

    @asynccontextmanager
    async def producer(self, **more: Any) -> AsyncIterator[AIOKafkaProducer]:
        client = AIOKafkaProducer(**self.connection.client(), **more)
        async with opened(client, self.connection):
            yield client

    async def replay(self, wanted: Wanted = Wanted(), **options: Any) -> Resent:  # noqa: B008
        report = lambda what, done, total: self.said.append(what)  # noqa: E731
        chosen = await select(self.connection, self.rejected, self.events, wanted, 0, report)
        defaults = {"limit": None, "rate": 1e6, "dry": False, "stop": asyncio.Event()}
        return await resend(
            self.connection, self.events, chosen, report=report, **(defaults | options)
        )

    async def copies(self) -> list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]]:
        """Records of the input topic behind the first ones, without the header of a replay."""
        found = []
        for partition, rows in (await read_all(self.kafka, self.events, PARTITIONS)).items():
            for row in rows:
                own = [pair for pair in row.headers if pair[0] != REPLAYED_FROM]
                if len(own) < len(row.headers):
                    found.append((partition, row.key, row.value, own))
        return sorted(found, key=repr)


def test_each_is_sent_once_as_it_was_and_where_it_was(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        stream = Stream(kafka, topic_prefix)
        await stream.fill()
        assert await stream.replay(dry=True) == Resent(5, 0, [], False)
        assert await stream.copies() == []
        assert await stream.replay(Wanted(frozenset({"size"}))) == Resent(1, 0, [], False)
        assert await stream.replay(limit=2) == Resent(2, 1, [], False)
        assert await stream.replay() == Resent(2, 3, [], False)
        assert await stream.replay() == Resent(0, 5, [], False)
        assert await stream.copies() == sorted(INPUT, key=repr)
        assert {"looking", "looking for copies", "sending"} <= set(stream.said)

    asyncio.run(scenario())


def test_a_cut_letter_whose_record_is_gone_is_named(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        stream = Stream(kafka, topic_prefix)
        await stream.fill(keep_large=False)
        done = await stream.replay()
        assert (done.sent, done.lost) == (4, [f"{stream.events}-0-1"])

    asyncio.run(scenario())


def test_a_copy_that_was_never_committed_is_no_copy(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        stream = Stream(kafka, topic_prefix)
        await stream.fill()
        name = f"{stream.events}-1-0".encode()
        # A replay that was killed in mid-transaction: the next one ends what it left open.
        killed = f"clickahead-rejected-replay-{stream.events}"
        async with stream.producer(transactional_id=killed) as producer:
            await producer.begin_transaction()
            headers = [(REPLAYED_FROM, name)]
            await producer.send_and_wait(stream.events, b"", partition=1, headers=headers)
            assert (await stream.replay()).sent == 5

    asyncio.run(scenario())


def test_of_two_replays_at_once_the_later_one_goes_on(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        stream = Stream(kafka, topic_prefix)
        await stream.fill()
        first = asyncio.create_task(stream.replay(rate=1.0))
        while not await stream.copies():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        second = await stream.replay()
        with pytest.raises(ReplayEnded, match=r"Another replay .* has begun"):
            await first
        assert second.sent + second.before == 5
        assert await stream.copies() == sorted(INPUT, key=repr)

    asyncio.run(scenario())


def test_a_stop_leaves_whole_what_was_sent(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        stream, stop = Stream(kafka, topic_prefix), asyncio.Event()
        await stream.fill()
        first = asyncio.create_task(stream.replay(rate=2.0, stop=stop))
        while not await stream.copies():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        stop.set()
        done = await first
        assert done.interrupted
        assert 0 < done.sent < 5
        assert (await stream.replay()).sent == 5 - done.sent

    asyncio.run(scenario())
