"""An independent look at the topics: did every input record get exactly one outcome?

Reads committed records only, as a subscriber would, and asks the worker nothing.
"""

from collections import Counter
from typing import NamedTuple

import msgspec

from stream_app.core.depth import is_json
from stream_app.core.events import HEARTBEAT, Prediction, RejectedRecord
from stream_app.kafka.connection import Connection
from stream_app.kafka.topic_reader import extents, partitions_of, read_partition, reader

Place = tuple[int, int]
"""Partition and offset of an input record."""


class Heard(msgspec.Struct):
    """The parts of an input record that tell duplicates and heartbeats apart."""

    user_id: str | int | None = None
    event_id: str | int | None = None
    event_type: str | None = None


class Audit(NamedTuple):
    """Input records by outcome. ``lost`` have none, ``doubled`` have more than one."""

    records: int
    predicted: int
    rejected: int
    duplicates: int
    heartbeats: int
    lost: list[Place]
    doubled: list[Place]
    strangers: list[Place]  # outcomes of records that the input topic does not hold

    @property
    def is_whole(self) -> bool:
        return not (self.lost or self.doubled or self.strangers)

    def sentence(self) -> str:
        """``in = predicted + rejected + duplicates + heartbeats``, and what is wrong with it."""
        text = (
            f"{self.records} in = {self.predicted} predicted + {self.rejected} rejected + "
            f"{self.duplicates} duplicates + {self.heartbeats} heartbeats"
        )
        faults = (("lost", self.lost), ("doubled", self.doubled), ("of no record", self.strangers))
        for name, places in faults:
            if places:
                text += f"; {len(places)} {name}, first at partition and offset {min(places)}"
        return text


class AuditBooks:
    """Collects the places of inputs and outcomes, then balances them."""

    def __init__(self) -> None:
        self._inputs: set[Place] = set()
        self._heartbeats: set[Place] = set()
        self._repeats: set[Place] = set()
        self._ids: set[tuple[int, str, str]] = set()
        self._predicted: Counter[Place] = Counter()
        self._rejected: Counter[Place] = Counter()
        self._heard = msgspec.json.Decoder(Heard)
        self._heard_packed = msgspec.msgpack.Decoder(Heard)
        self._prediction = msgspec.json.Decoder(Prediction)
        self._refusal = msgspec.json.Decoder(RejectedRecord)

    def event(self, partition: int, offset: int, value: bytes | None) -> None:
        place = (partition, offset)
        self._inputs.add(place)
        try:
            decoder = self._heard if is_json(value or b"") else self._heard_packed
            heard = decoder.decode(value or b"")
        except (ValueError, RecursionError):
            return
        if heard.event_type == HEARTBEAT:
            self._heartbeats.add(place)
        elif heard.event_id not in (None, ""):
            named = (partition, str(heard.user_id), str(heard.event_id))
            if named in self._ids:
                self._repeats.add(place)
            self._ids.add(named)

    def prediction(self, value: bytes) -> None:
        prediction = self._prediction.decode(value)
        if prediction.revision == 0:
            self._predicted[prediction.source.partition, prediction.source.offset] += 1

    def refusal(self, value: bytes) -> None:
        record = self._refusal.decode(value)
        self._rejected[record.partition, record.offset] += 1

    def balance(self) -> Audit:
        """Every record without an outcome has to be a heartbeat or the repeat of an event id."""
        outcomes = self._predicted + self._rejected
        silent = self._inputs - outcomes.keys()
        heartbeats = silent & self._heartbeats
        duplicates = (silent - heartbeats) & self._repeats
        return Audit(
            records=len(self._inputs),
            predicted=sum(place in self._inputs for place in self._predicted),
            rejected=sum(place in self._inputs for place in self._rejected),
            duplicates=len(duplicates),
            heartbeats=len(heartbeats),
            lost=sorted(silent - heartbeats - duplicates),
            doubled=sorted(place for place, count in outcomes.items() if count > 1),
            strangers=sorted(outcomes.keys() - self._inputs),
        )


async def audit(connection: Connection, events: str, predictions: str, rejected: str) -> Audit:
    """Read the three topics from their beginning to their end and balance them.

    Raises TopicMissing, TopicStalled.
    """
    books = AuditBooks()
    async with reader(connection) as consumer:
        for topic in (events, predictions, rejected):
            places = await partitions_of(consumer, topic)
            whole = await extents(consumer, places)
            for place in places:
                async for chunk in read_partition(consumer, place, whole[place]):
                    for row in chunk:
                        if topic == events:
                            books.event(row.partition, row.offset, row.value)
                        elif topic == predictions:
                            books.prediction(row.value)
                        else:
                            books.refusal(row.value)
    return books.balance()
