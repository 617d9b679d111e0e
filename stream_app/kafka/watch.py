"""A topic's records as lines for people. Whatever is in them, a line is one line of plain text."""

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, tzinfo

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord

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
        value = _decoded(record.value) if fields else None
        return all(wanted in _at(value, path.split(".")) for path, wanted in fields)

    return keep


def time_of(record: ConsumerRecord, zone: tzinfo | None = UTC) -> str:
    """The record's time of day, in milliseconds."""
    if record.timestamp < 0:
        return "-"
    at = datetime.fromtimestamp(record.timestamp / 1000, zone)
    return at.strftime("%H:%M:%S.") + f"{record.timestamp % 1000:03d}"


def shown(content: bytes | None) -> str:
    """Bytes as one printable line: JSON where they are JSON or MessagePack, else text."""
    if content is None:
        return "-"
    value = _decoded(content)
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _decoded(content: bytes | None) -> object:
    """What the bytes mean; text where they mean nothing."""
    if not content:
        return ""
    # A MessagePack object begins with a byte that begins no UTF-8 text.
    is_text = _is_text(content)
    decode = msgspec.json.decode if is_text else msgspec.msgpack.decode
    try:
        value: object = decode(content)
        msgspec.json.encode(value)  # MessagePack knows values that JSON does not
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError):
        return content.decode("utf-8", "backslashreplace")
    return value


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _at(value: object, path: Sequence[str]) -> set[str]:
    """The values at a path, as text."""
    if isinstance(value, list):
        return set().union(*(_at(element, path) for element in value))
    if not path:
        return {value if isinstance(value, str) else msgspec.json.encode(value).decode()}
    return _at(value[path[0]], path[1:]) if isinstance(value, dict) and path[0] in value else set()
