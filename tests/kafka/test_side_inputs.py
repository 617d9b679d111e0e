"""A side input is read whole before anything begins, committed records only, and then followed."""

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer

from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.side_inputs import SideRecord, following
from stream_app.kafka.topic_reader import TopicMissing
from tests.kafka.ledger import settled, until
from tests.kafka.test_topic_reader import new_topic, transact

pytestmark = pytest.mark.kafka


class Taken:
    """Values by role, as they came."""

    def __init__(self) -> None:
        self.values: dict[str, list[bytes | None]] = {}
        self.offsets: dict[str, list[int]] = {}

    def __call__(self, role: str, records: Sequence[SideRecord]) -> None:
        self.values.setdefault(role, []).extend(record.value for record in records)
        self.offsets.setdefault(role, []).extend(record.offset for record in records)


def unexpected(error: BaseException) -> None:
    raise AssertionError from error


async def send(connection: Connection, topic: str, values: Sequence[bytes | None]) -> None:
    async with opened(AIOKafkaProducer(**connection.client()), connection) as producer:
        for number, value in enumerate(values):
            await producer.send_and_wait(topic, value, key=b"k%d" % number)


def test_both_topics_are_whole_at_the_start_and_followed_from_there(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        connection, taken = Connection((kafka,)), Taken()
        names = {"items": f"{topic_prefix}items", "control": f"{topic_prefix}control"}
        for name in names.values():
            await new_topic(connection, name, 1)
        many: list[bytes | None] = [b"%d" % number for number in range(1_200)]
        await send(connection, names["items"], [*many, None])
        await transact(connection, names["control"], [b"a"], commit=True)
        await transact(connection, names["control"], [b"never"], commit=False)
        await settled(kafka, names["control"], 1)
        async with following(connection, names, taken, unexpected):
            assert taken.values == {"items": [*many, None], "control": [b"a"]}
            assert taken.offsets["items"] == [*range(1_201)]
            await send(connection, names["control"], [b"\xff"])
            await until(lambda: taken.values["control"] == [b"a", b"\xff"], 2.0)
        await send(connection, names["control"], [b"after"])
        assert taken.values["control"] == [b"a", b"\xff"]

    asyncio.run(scenario())


def test_empty_topics_hold_nobody_up(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        connection, taken = Connection((kafka,)), Taken()
        await new_topic(connection, f"{topic_prefix}control", 1)
        async with following(connection, {"control": f"{topic_prefix}control"}, taken, unexpected):
            assert taken.values == {}

    asyncio.run(scenario())


def test_a_topic_that_is_missing_is_said(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        with pytest.raises(TopicMissing, match=f"There is no topic {topic_prefix}control"):
            async with following(
                Connection((kafka,)), {"control": f"{topic_prefix}control"}, Taken(), unexpected
            ):
                pass

    asyncio.run(scenario())


def test_who_cannot_go_on_says_so(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        connection, failed = Connection((kafka,)), []
        name = f"{topic_prefix}control"
        await new_topic(connection, name, 1)

        def broken(role: str, records: Sequence[SideRecord]) -> None:
            raise ZeroDivisionError

        async with following(connection, {"control": name}, broken, failed.append):
            await send(connection, name, [b"a"])
            await until(lambda: len(failed) == 1, 5.0)
        assert isinstance(failed[0], ZeroDivisionError)

    asyncio.run(scenario())
