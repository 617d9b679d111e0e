"""The topics of one run: made, waited for, read whole, deleted."""

import asyncio
import math
import time
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream_app.core.events import TOPICS
from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.dump import DumpRecord, dump_writer
from stream_app.kafka.dump_topic import dump_topic
from stream_app.kafka.shell_config import changelog_of
from stream_app.replay import OUTPUTS
from stream_app.settings import Settings
from tests.chaos.verifier import Topics, folded

POLL_SECONDS = 0.25
OPEN_TRANSACTION_SECONDS = 15.0


class Held(NamedTuple):
    """Everything that is in the topics of a run."""

    inputs: dict[int, list[DumpRecord]]
    topics: Topics
    changes: dict[int, list[DumpRecord]]  # the changelog as it was written
    control: list[DumpRecord]


async def drained(settings: Settings, patience_seconds: float) -> int:
    """Wait until the group has committed the end of the input, as long as it comes nearer; how many
    records it lacks when it has not for so long.
    """
    connection, group = settings.connection(), settings.worker.app_id
    async with (
        opened(AIOKafkaAdminClient(**connection.client()), connection) as admin,
        opened(AIOKafkaConsumer(**connection.client(), group_id=None), connection) as consumer,
    ):
        places = places_of(settings, settings.topic("events"))
        least, deadline = math.inf, time.monotonic() + patience_seconds
        while True:
            try:
                ends = await consumer.end_offsets(places)
                committed = await admin.list_consumer_group_offsets(group, partitions=places)
                # A partition of which nothing is committed yet is missing, or at -1.
                done = {p: max(0, committed[p].offset) if p in committed else 0 for p in places}
                lag = sum(max(0, ends[p] - done[p]) for p in places)
                if lag < least:
                    least, deadline = lag, time.monotonic() + patience_seconds
                if lag == 0 or time.monotonic() > deadline:
                    return lag
            except KafkaError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(POLL_SECONDS)


async def open_transactions(settings: Settings) -> list[str]:
    """Partitions of our topics where a transaction is open, after they had time to end.

    A commit returns before its markers are written, and until then no reader sees it.
    """
    connection = settings.connection()
    names = [*map(settings.topic, OUTPUTS), changelog_of(settings.worker.app_id)]
    places = [place for name in names for place in places_of(settings, name)]
    deadline = time.monotonic() + OPEN_TRANSACTION_SECONDS
    every = AIOKafkaConsumer(**connection.client(), group_id=None)
    stable = AIOKafkaConsumer(
        **connection.client(), group_id=None, isolation_level="read_committed"
    )
    async with opened(every, connection), opened(stable, connection):
        while True:
            highs, lows = await every.end_offsets(places), await stable.end_offsets(places)
            still = [f"{p.topic}-{p.partition}" for p in places if highs[p] != lows[p]]
            if not still or time.monotonic() > deadline:
                return still
            await asyncio.sleep(POLL_SECONDS)


async def held_in(settings: Settings) -> Held:
    """Read every committed record."""
    connection = settings.connection()
    inputs = await records_of(connection, settings.topic("events"))
    changes = await records_of(connection, changelog_of(settings.worker.app_id))
    outputs = {}
    for role in OUTPUTS:
        for partition, records in (await records_of(connection, settings.topic(role))).items():
            outputs[role, partition] = [(record.key, record.value) for record in records]
    state = {p: folded([(row.key, row.value) for row in rows]) for p, rows in changes.items()}
    control = (await records_of(connection, settings.topic("control"))).get(0, [])
    return Held(inputs, Topics(outputs, state), changes, control)


async def records_of(connection: Connection, topic: str) -> dict[int, list[DumpRecord]]:
    """The committed records of a topic by partition, those without any left out."""
    found: dict[int, list[DumpRecord]] = {}

    def keep(record: DumpRecord) -> None:
        found.setdefault(record.partition, []).append(record)

    await dump_topic(connection, topic, keep, lambda done, total: None)
    return found


def keep(held: Held, folder: Path) -> None:
    """Dumps for ``clickahead replay EVENTS --follow CHANGELOG --control CONTROL``, and the outputs
    to compare with."""
    parts = {
        "events": [record for records in held.inputs.values() for record in records],
        "changelog": [record for records in held.changes.values() for record in records],
        "control": held.control,
    }
    for name, records in parts.items():
        with dump_writer(folder / f"{name}.jsonl.gz") as write:
            for record in records:
                write(record)
    for (role, partition), outputs in held.topics.outputs.items():
        lines = [(value or b"") + b"\n" for _, value in outputs]
        (folder / f"{role}-{partition}.jsonl").write_bytes(b"".join(lines))


async def delete_topics(settings: Settings) -> None:
    connection = settings.connection()
    names = [*map(settings.topic, TOPICS), changelog_of(settings.worker.app_id)]
    async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
        await admin.delete_topics(names)


def places_of(settings: Settings, topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in range(settings.worker.partitions)]
