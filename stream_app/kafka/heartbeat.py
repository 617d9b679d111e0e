"""Heartbeats: records that move the event time of partitions where nothing happens.

Sessions close when the event time of their partition passes, so that a partition whose users have
all gone quiet needs somebody to say what time it is.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from stream_app.core.events import HEARTBEAT
from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.topic_reader import partitions_of, reader

Encoding = Literal["json", "msgpack"]


def heartbeat_value(at_ms: int, fields: Mapping[str, str], encoding: Encoding) -> bytes:
    """A heartbeat as an input record.

    Args:
        at_ms: event time to move to, epoch ms.
        fields: canonical field name to the name that the topic uses.
    """
    record = {
        fields.get("event_type", "event_type"): HEARTBEAT,
        fields.get("timestamp", "timestamp"): at_ms,
    }
    encode = msgspec.json.encode if encoding == "json" else msgspec.msgpack.encode
    return encode(record)


async def idle_partitions(consumer: AIOKafkaConsumer, topic: str, before_ms: int) -> list[int]:
    """Partitions without a record of ``before_ms`` or later, by the time that Kafka keeps."""
    partitions = await partitions_of(consumer, topic)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, before_ms))
    return [p.partition for p in partitions if found[p] is None]


async def beat(
    connection: Connection,
    topic: str,
    idle_ms: int,
    value: Callable[[int], bytes],
    now_ms: Callable[[], int],
    every_seconds: float | None = None,
    report: Callable[[list[int]], None] = lambda partitions: None,
) -> None:
    """Write a heartbeat to every idle partition, once or for ever.

    Args:
        idle_ms: age of a partition's newest record from which on it is idle.
        value: the record for a time, see `heartbeat_value`.
        now_ms: the clock.
        every_seconds: None for once.
        report: told of the partitions after each round.
    """
    producer = AIOKafkaProducer(**connection.client(), enable_idempotence=True)
    async with reader(connection) as consumer, opened(producer, connection):
        while True:
            at_ms = now_ms()
            idle = await idle_partitions(consumer, topic, at_ms - idle_ms)
            await asyncio.gather(
                *(producer.send_and_wait(topic, value(at_ms), partition=p) for p in idle)
            )
            report(idle)
            if every_seconds is None:
                return
            await asyncio.sleep(every_seconds)
