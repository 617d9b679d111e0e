"""Follow the topics live into a tally, as any subscriber would: committed records, no group."""

from collections.abc import Callable, Mapping

import msgspec
from aiokafka import AIOKafkaConsumer

from stream_app.core.clean import Click, Read
from stream_app.core.events import Anomaly, Prediction, RejectedRecord
from stream_app.demo.tally import Seen, Tally
from stream_app.kafka.connection import Connection
from stream_app.kafka.topic_reader import partitions_of, reader

POLL_MS = 20


class Follower:
    """Feeds records of the demo's topics to a tally; ``topics`` maps roles to topic names."""

    def __init__(
        self, tally: Tally, topics: Mapping[str, str], read: Read, now_ms: Callable[[], float]
    ) -> None:
        self._tally, self._read, self._now_ms = tally, read, now_ms
        self._roles = {topics[role]: role for role in ("events", "predictions", "anomalies")}
        self._roles[topics["rejected"]] = "rejected"
        self._prediction = msgspec.json.Decoder(Prediction)
        self._anomaly = msgspec.json.Decoder(Anomaly)
        self._refusal = msgspec.json.Decoder(RejectedRecord)

    async def run(self, connection: Connection) -> None:
        """Follow from the beginning until cancelled."""
        async with reader(connection) as consumer:
            await self._assign(consumer)
            while True:
                for place, rows in (await consumer.getmany(timeout_ms=POLL_MS)).items():
                    role = self._roles[place.topic]
                    for row in rows:
                        self._take(role, row.partition, row.offset, row.timestamp, row.value)

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        places = [place for topic in self._roles for place in await partitions_of(consumer, topic)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)

    def _take(
        self, role: str, partition: int, offset: int, timestamp_ms: int, value: bytes
    ) -> None:
        if role == "events":
            click = self._read(None, value, -1)
            if isinstance(click, Click):
                seen = Seen(click.item_id, click.action, timestamp_ms)
                self._tally.event(partition, offset, seen)
        elif role == "predictions":
            self._tally.prediction(self._prediction.decode(value), self._now_ms())
        elif role == "anomalies":
            self._tally.anomaly(self._anomaly.decode(value))
        else:
            self._tally.refusal(self._refusal.decode(value))
