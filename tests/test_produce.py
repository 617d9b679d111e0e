import asyncio
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_app.files import FileEvent
from stream_app.pace import at_once, at_rate
from stream_app.partitioning import partition_of
from stream_app.produce import RECORD_LIMIT_BYTES, Produced, produce, producer_of

PARTITIONS = 3
ROOT = Path(__file__).parent.parent
CLICKAHEAD = [sys.executable, "-c", "from stream_app.cli import main; main()"]


@asynccontextmanager
async def topic_and_producer(servers: str, topic: str) -> AsyncIterator[AIOKafkaProducer]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    finally:
        await admin.close()
    producer = producer_of({"bootstrap_servers": servers})
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def all_records(servers: str, topic: str) -> list[list[FileEvent]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        found = []
        for number in range(PARTITIONS):
            partition = TopicPartition(topic, number)
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            records: list[FileEvent] = []
            while len(records) < end:
                record = await consumer.getone()
                records.append(FileEvent(record.key, record.value))
            found.append(records)
        return found
    finally:
        await consumer.stop()


def clicks(count: int) -> list[FileEvent]:
    return [
        FileEvent(f"u{n % 17}".encode(), json.dumps({"user_id": f"u{n % 17}", "n": n}).encode())
        for n in range(count)
    ]


@pytest.mark.kafka
def test_every_event_is_where_its_key_belongs_in_its_order(
    kafka: str,
    topic_prefix: str,
) -> None:
    events = [*clicks(5_000), FileEvent(None, b"broken"), FileEvent(b"big", b"x" * 900_000)]
    topic = topic_prefix + "events"
    told: list[int] = []

    async def run() -> tuple[Produced, list[list[FileEvent]]]:
        async with topic_and_producer(kafka, topic) as producer:
            sent = await produce(at_once(events), producer, topic, progress=told.append)
        return sent, await all_records(kafka, topic)

    sent, records = asyncio.run(run())
    for number, found in enumerate(records):
        assert found == [e for e in events if partition_of(e.key, PARTITIONS) == number]
    assert sent.sent == tuple(map(len, records))
    assert (sent.total, sent.oversized, sent.interrupted) == (len(events), 0, False)
    assert told == sorted(told)
    assert told[-1] == len(events)


@pytest.mark.kafka
def test_what_no_broker_would_take_is_counted_and_the_rest_goes_through(
    kafka: str,
    topic_prefix: str,
) -> None:
    topic = topic_prefix + "events"
    largest = FileEvent(b"u", b"x" * (RECORD_LIMIT_BYTES - 1))
    events = [FileEvent(b"u", largest.value + b"x"), largest]

    async def run() -> Produced:
        async with topic_and_producer(kafka, topic) as producer:
            return await produce([events], producer, topic)

    sent = asyncio.run(run())
    assert (sent.total, sent.oversized) == (1, 1)


@pytest.mark.kafka
def test_the_rate_is_kept_and_stop_ends_it(kafka: str, topic_prefix: str) -> None:
    topic = topic_prefix + "events"
    rate, seconds = 400.0, 2.0

    def endless() -> Iterator[FileEvent]:
        return (FileEvent(b"u", b"%d" % n) for n in itertools.count())

    async def run() -> Produced:
        stop = asyncio.Event()
        async with topic_and_producer(kafka, topic) as producer:
            asyncio.get_running_loop().call_later(seconds, stop.set)
            chunks = at_rate(endless(), rate, time.monotonic)
            return await produce(chunks, producer, topic, stop=stop)

    sent = asyncio.run(run())
    assert sent.interrupted
    # A busy machine may sleep longer, never shorter; what it missed it sends at the next look.
    assert sent.total <= rate * sent.seconds + 1
    assert sent.total >= rate * (sent.seconds - 1)


@pytest.mark.kafka
def test_the_command_sends_a_file_and_says_what_it_sent(
    kafka: str,
    topic_prefix: str,
    tmp_path: Path,
) -> None:
    topic = topic_prefix + "events"
    path = tmp_path / "a.csv"
    path.write_text("user,item_id,timestamp\n" + "".join(f"u{n},i,{n}\n" for n in range(50)))

    async def run() -> None:
        async with topic_and_producer(kafka, topic):
            pass

    arguments = ["produce", str(path), "--map", "user=user_id", "--bootstrap-servers", kafka]
    missing = clickahead(*arguments, "--topic", topic)
    assert missing.returncode == 2
    assert f"There is no topic {topic}; create the topics" in missing.stderr

    asyncio.run(run())
    done = clickahead(*arguments, "--topic", topic, "--limit", "40")
    assert done.returncode == 0, done.stderr
    assert f"sent 40 events to {topic} in " in done.stdout
    records = asyncio.run(all_records(kafka, topic))
    users = sorted(event.key or b"" for partition in records for event in partition)
    assert users == sorted(b"u%d" % n for n in range(40))


@pytest.mark.kafka
def test_ctrl_c_ends_the_command_with_what_was_sent(
    kafka: str,
    topic_prefix: str,
    tmp_path: Path,
) -> None:
    topic = topic_prefix + "events"
    path = tmp_path / "a.csv"
    path.write_text("user_id,item_id\n" + "u,i\n" * 100_000)

    async def created() -> None:
        async with topic_and_producer(kafka, topic):
            pass

    def count() -> int:
        return sum(map(len, asyncio.run(all_records(kafka, topic))))

    asyncio.run(created())
    arguments = ["--rate", "200", "--topic", topic, "--bootstrap-servers", kafka]
    with subprocess.Popen(  # noqa: S603
        [*CLICKAHEAD, "produce", str(path), *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as command:
        while count() == 0:
            assert command.poll() is None
        command.send_signal(signal.SIGINT)
        said, _ = command.communicate(timeout=30)
    sent = count()
    assert command.returncode == 130
    assert said.startswith(f"sent {sent} events")
    assert said.endswith("; interrupted\n")
    assert 0 < sent < 100_000


def clickahead(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [*CLICKAHEAD, *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
