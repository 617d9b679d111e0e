"""Whatever lies in a topic, people see one line of plain text a record, and only what they want."""

import asyncio
from contextlib import aclosing
from datetime import UTC, timedelta, timezone

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.topic_admin import create_missing
from stream_app.kafka.topic_reader import reader
from stream_app.kafka.topics import TopicSpec
from stream_app.kafka.watch import follow, keeps, place, shown, time_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def record(
    value: bytes | None, key: bytes | None = None, timestamp_ms: int = 0
) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("topic", 0, 0, timestamp_ms, 0, key, value, None, -1, -1, ())


@given(st.binary() | st.text().map(str.encode) | JSON.map(msgspec.json.encode))
def test_nothing_in_a_record_moves_the_cursor(content: bytes) -> None:
    line = shown(content)
    assert line.isprintable()
    assert "\x1b" not in line


@given(st.dictionaries(st.text(), JSON))
def test_json_and_messagepack_are_shown_alike(value: dict[str, object]) -> None:
    try:
        packed = msgspec.msgpack.encode(value)
    except OverflowError:  # beyond 64 bits
        return
    assert shown(packed) == shown(msgspec.json.encode(value))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "-"),
        (b"", ""),
        (b"alice", "alice"),
        (b"a", "a"),
        (b'{"a": [1, 2]}', '{"a":[1,2]}'),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"\x1b[2J\r\n", r"\x1b[2J\r\n"),
        ('{"a": "\u009b2J"}'.encode(), r'{"a":"\x9b2J"}'),
        (b"[" * 100_000, "[" * 100_000),
    ],
)
def test_lines(content: bytes | None, line: str) -> None:
    assert shown(content) == line


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
