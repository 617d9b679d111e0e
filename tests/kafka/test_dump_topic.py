"""A topic, its dump and what is read of the dump are one and the same."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.dump import DumpRecord, dump_writer, read_dump
from stream_app.kafka.dump_topic import dump_topic
from stream_app.kafka.topic_admin import create_missing
from stream_app.kafka.topics import TopicSpec
from tests.kafka.ledger import settled

pytestmark = pytest.mark.kafka

AT_MS = 1_700_000_000_000
RECORDS = [
    DumpRecord(0, 0, AT_MS, "create", b"alice", b'{"item_id": "\xc3\xa9"}', ()),
    DumpRecord(0, 1, AT_MS + 1, "create", b"\xff\x00", b"\x80\x81", (("h", b"\xfe"), ("h", b"t"))),
    DumpRecord(0, 2, AT_MS, "create", None, b"", (("empty", b""),)),
    DumpRecord(0, 3, AT_MS, "create", b"bob", None, ()),
    DumpRecord(2, 0, AT_MS, "create", b"", b"\n\r\xe2\x80\xa8", ()),
]


async def filled(kafka: str, topic: str, config: dict[str, str]) -> Connection:
    """A topic of three partitions with RECORDS, and two aborted records behind them."""
    connection = Connection((kafka,))
    async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
        await create_missing(admin, [TopicSpec("", topic, 3, config)], 1)
    producer = AIOKafkaProducer(**connection.client(), transactional_id=topic)
    async with opened(producer, connection):
        for commit, records in ((True, RECORDS), (False, RECORDS[:2])):
            await producer.begin_transaction()
            for record in records:
                await producer.send_and_wait(
                    topic,
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    timestamp_ms=record.timestamp_ms,
                    headers=list(record.headers),
                )
            await (producer.commit_transaction() if commit else producer.abort_transaction())
    await settled(kafka, topic, 3)
    return connection


@pytest.mark.parametrize("name", ["dump.jsonl", "dump.jsonl.gz"])
def test_a_dump_gives_back_the_topic(
    kafka: str, topic_prefix: str, tmp_path: Path, name: str
) -> None:
    async def scenario() -> list[tuple[int, int]]:
        topic = f"{topic_prefix}topic"
        connection = await filled(kafka, topic, {})
        reports: list[tuple[int, int]] = []
        with dump_writer(tmp_path / name) as write:
            count = await dump_topic(connection, topic, write, lambda *done: reports.append(done))
        assert count == len(RECORDS)
        return reports

    reports = asyncio.run(scenario())
    assert list(read_dump(tmp_path / name)) == RECORDS
    # Five records, two aborted ones, and the marker of each partition and transaction.
    assert reports[-1] == (10, 10)
    assert reports == sorted(reports)


def test_the_brokers_clock_is_told_from_the_producers(kafka: str, topic_prefix: str) -> None:
    async def scenario() -> None:
        topic = f"{topic_prefix}topic"
        connection = await filled(kafka, topic, {"message.timestamp.type": "LogAppendTime"})
        found: list[DumpRecord] = []
        await dump_topic(connection, topic, found.append, lambda done, total: None)
        assert {record.timestamp_type for record in found} == {"log_append"}
        assert min(record.timestamp_ms for record in found) > AT_MS + 1

    asyncio.run(scenario())
