"""Find an output in its topic, and what was published along with it."""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.core.events import Anomaly, Prediction, Source
from stream_app.kafka.newest_first import newest_first
from stream_app.kafka.topic_reader import (
    Extent,
    extents,
    extents_since,
    partitions_of,
    read_partition,
)
from stream_app.progress import Report
from stream_app.source_names import source_name

SLACK_MS = 5_000
"""Outputs of one micro-batch bear its time, or the broker's where topics say so: not far apart."""

Output = Prediction | Anomaly
_DECODERS: dict[str, Callable[[bytes], Output]] = {
    "predictions": msgspec.json.Decoder(Prediction).decode,
    "anomalies": msgspec.json.Decoder(Anomaly).decode,
}


class Published(NamedTuple):
    """An output as subscribers see it."""

    role: str
    record: ConsumerRecord
    output: Output

    @property
    def source(self) -> Source:
        return self.output.source

    @property
    def revision(self) -> int:
        return self.output.revision if isinstance(self.output, Prediction) else 0

    @property
    def is_of_a_record(self) -> bool:
        """Whether its source caused it. Corrections and ends of sessions, alerts and users name the
        user's newest record, and are caused by a later one or by an order."""
        name = source_name(self.source)
        ends = self.output.event_id != name and self.output.event_id.endswith(f"-{name}")
        return self.revision == 0 and not ends


async def find_event(
    consumer: AIOKafkaConsumer,
    topics: Mapping[str, str],
    event_id: str,
    revision: int,
    tell: Report,
) -> Published | None:
    """The newest prediction of an event id, in that revision."""
    needle = msgspec.json.encode(event_id)
    held = await extents(consumer, await partitions_of(consumer, topics["predictions"]))
    return await _find(
        consumer, "predictions", held, needle, tell,
        lambda output: output.event_id == event_id and _revision(output) == revision,
    )  # fmt: skip


async def find_alert(
    consumer: AIOKafkaConsumer, topics: Mapping[str, str], alert_id: str, phase: str, tell: Report
) -> Published | None:
    """The record that announced a phase of an alert."""
    held = await extents(consumer, await partitions_of(consumer, topics["anomalies"]))
    return await _find(
        consumer, "anomalies", held, msgspec.json.encode(alert_id), tell,
        lambda output: isinstance(output, Anomaly)
        and (output.alert_id, output.phase) == (alert_id, phase),
    )  # fmt: skip


async def find_source(
    consumer: AIOKafkaConsumer,
    topics: Mapping[str, str],
    source: Source,
    revision: int,
    tell: Report,
) -> Published | None:
    """The prediction for an input record, in that revision."""
    place = TopicPartition(topics["predictions"], source.partition)
    if place not in await partitions_of(consumer, place.topic):
        return None
    held, needle = await extents(consumer, [place]), msgspec.json.encode(source)
    return await _find(
        consumer, "predictions", held, needle, tell,
        lambda output: output.source == source and _revision(output) == revision,
    )  # fmt: skip


async def published_with(
    consumer: AIOKafkaConsumer, topics: Mapping[str, str], found: Published
) -> list[Published]:
    """All outputs for the same event at about the same time, ``found`` among them, each once: in
    at_least_once an output may be there twice, byte for byte the same."""
    near: dict[tuple[str, bytes], Published] = {}
    at_ms = found.record.timestamp
    for role in _DECODERS:
        place = TopicPartition(topics[role], found.record.partition)
        held = (await extents_since(consumer, [place], at_ms - SLACK_MS))[place]
        async for chunk in read_partition(consumer, place, held):
            for record in chunk:
                output = _output(role, record)
                if output is None or not is_along(found.output, output):
                    continue
                near.setdefault((role, record.value), Published(role, record, output))
            if chunk and chunk[-1].timestamp > at_ms + SLACK_MS:
                break
    return list(near.values())


def is_along(found: Output, other: Output) -> bool:
    """Whether two outputs are of one event and of one moment: a correction, which came of a later
    event, has no part in the alert that its own event caused."""
    return (other.source, other.event_id, _revision(other)) == (
        found.source,
        found.event_id,
        _revision(found),
    )


async def _find(
    consumer: AIOKafkaConsumer,
    role: str,
    held: Mapping[TopicPartition, Extent],
    needle: bytes,
    tell: Report,
    is_it: Callable[[Output], bool],
) -> Published | None:
    def progress(done: int, total: int) -> None:
        tell(f"looking through {role}", done, total)

    async with aclosing(newest_first(consumer, held, progress)) as blocks:  # type: ignore[type-var]
        async for block in blocks:
            for record in block:
                # Decoding every record of a long topic would take ten times as long.
                if needle not in (record.value or b""):
                    continue
                output = _output(role, record)
                if output is not None and is_it(output):
                    return Published(role, record, output)
    return None


def decode_output(role: str, value: bytes) -> Output:
    return _DECODERS[role](value)


def _output(role: str, record: ConsumerRecord) -> Output | None:
    # A stub for a record that no broker took has no value.
    return None if record.value is None else decode_output(role, record.value)


def _revision(output: Output) -> int:
    return output.revision if isinstance(output, Prediction) else 0
