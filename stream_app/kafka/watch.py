"""A topic's records as they come, those that somebody wants to see."""

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, tzinfo

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from stream_app.kafka.readable import decoded
from stream_app.kafka.topic_reader import POLL_MS, extents, partitions_of

Keep = Callable[[ConsumerRecord], bool]


async def place(consumer: AIOKafkaConsumer, topic: str, from_beginning: bool) -> None:
    """Put the consumer at the topic's beginning, or at its end.

    Raises:
        TopicMissing: there is no such topic.
    """
    partitions = await partitions_of(consumer, topic)
    consumer.assign(partitions)
    for partition, extent in (await extents(consumer, partitions)).items():
        consumer.seek(partition, extent.begin if from_beginning else extent.end)


async def follow(consumer: AIOKafkaConsumer) -> AsyncGenerator[ConsumerRecord, None]:
    """Committed records as they arrive, for ever; in order within each partition."""
    while True:
        chunks = await consumer.getmany(timeout_ms=POLL_MS)
        records = [record for chunk in chunks.values() for record in chunk]
        for record in sorted(records, key=lambda record: record.timestamp):
            yield record


def keeps(filters: Sequence[str]) -> Keep:
    """Whether a record passes every filter.

    ``field=value`` compares a field of the value, inside others by ``outer.inner``, in a list with
    any of its elements; any other text has to be in the key or in the value.
    """
    fields = [text.partition("=")[::2] for text in filters if "=" in text]
    texts = [text.encode() for text in filters if "=" not in text]

    def keep(record: ConsumerRecord) -> bool:
        content = (record.key or b"") + b"\n" + (record.value or b"")
        if not all(text in content for text in texts):
            return False
        value = decoded(record.value) if fields else None
        return all(wanted in _at(value, path.split(".")) for path, wanted in fields)

    return keep


def time_of(record: ConsumerRecord, zone: tzinfo | None = UTC) -> str:
    """The record's time of day, in milliseconds."""
    if record.timestamp < 0:
        return "-"
    at = datetime.fromtimestamp(record.timestamp / 1000, zone)
    return at.strftime("%H:%M:%S.") + f"{record.timestamp % 1000:03d}"


def _at(value: object, path: Sequence[str]) -> set[str]:
    """The values at a path, as text."""
    if isinstance(value, list):
        return set().union(*(_at(element, path) for element in value))
    if not path:
        return {value if isinstance(value, str) else msgspec.json.encode(value).decode()}
    return _at(value[path[0]], path[1:]) if isinstance(value, dict) and path[0] in value else set()
