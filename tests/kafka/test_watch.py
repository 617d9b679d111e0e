"""People see the records that they want, as they come."""

import asyncio
from contextlib import aclosing
from datetime import UTC, timedelta, timezone

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.topic_admin import create_missing
from stream_app.kafka.topic_reader import reader
from stream_app.kafka.topics import TopicSpec
from stream_app.kafka.watch import follow, keeps, place, time_of


def record(
    value: bytes | None, key: bytes | None = None, timestamp_ms: int = 0
) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("topic", 0, 0, timestamp_ms, 0, key, value, None, -1, -1, ())


ALERT = record(
    b'{"kind": "surprise", "p": 0.5, "n": 3, "ok": true, "reasons": [{"what": "item"}, 7]}', b"u1"
)


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ([], True),
        (["surprise"], True),
        (["u1"], True),
        (["u2"], False),
        (["kind=surprise"], True),
        (["kind=surp"], False),
        (["n=3", "ok=true", "p=0.5"], True),
        (["n=3", "ok=false"], False),
        (["reasons.what=item"], True),
        (["reasons.what=action"], False),
        (["reasons=7"], True),
        (["kind.what=item"], False),
        (["absent=1"], False),
        (["u1", "kind=surprise"], True),
    ],
)
def test_filters(filters: list[str], kept: bool) -> None:
    assert keeps(filters)(ALERT) is kept


@given(st.none() | st.binary())
def test_a_filter_takes_any_record(value: bytes | None) -> None:
    assert not keeps(["field=value"])(record(value))


def test_times_are_of_the_zone_that_is_asked_for() -> None:
    at = record(b"", timestamp_ms=1_700_000_000_042)
    assert time_of(at, UTC) == "22:13:20.042"
    assert time_of(at, timezone(timedelta(hours=2))) == "00:13:20.042"
    assert time_of(record(b"", timestamp_ms=-1)) == "-"


@pytest.mark.kafka
@pytest.mark.parametrize("from_beginning", [True, False])
def test_records_are_followed_as_they_come(
    kafka: str, topic_prefix: str, from_beginning: bool
) -> None:
    async def scenario() -> list[bytes | None]:
        connection, topic = Connection((kafka,)), f"{topic_prefix}topic"
        async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
            await create_missing(admin, [TopicSpec("", topic, 2, {})], 1)
        async with (
            opened(AIOKafkaProducer(**connection.client()), connection) as producer,
            reader(connection) as consumer,
        ):
            await producer.send_and_wait(topic, b"old", partition=1, timestamp_ms=1)
            await place(consumer, topic, from_beginning)
            await producer.send_and_wait(topic, b"new", partition=0, timestamp_ms=2)
            wanted = 1 + from_beginning
            async with aclosing(follow(consumer)) as records:
                return [(await anext(records)).value for _ in range(wanted)]

    assert asyncio.run(scenario()) == ([b"old", b"new"] if from_beginning else [b"new"])
