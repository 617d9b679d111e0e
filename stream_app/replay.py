"""The worker's core over a file instead of Kafka: the oracle of the tests, and a back-test.

Records go to partitions as a producer would send them, or keep the place that a dump names; what
comes out is what a worker would have published, in input order.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from model.spec import Engine
from stream_app.core.batch import BEFORE, EventBatch, Headers, OutputBatch, Record, Route
from stream_app.core.config import CoreConfig
from stream_app.core.events import HEARTBEAT, OUTCOMES, RawClick
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from stream_app.files import FileEvent
from stream_app.partitioning import partition_of
from stream_app.schedule import Course

BATCH_ROWS = 4096
OUTPUTS = ("predictions", "anomalies", "rejected")

_END = 1 << 62
"""An offset above all."""


class InputRecord(NamedTuple):
    """A record of the input topic; ``received_ms`` is LogAppendTime, -1 where unknown."""

    partition: int
    offset: int
    received_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Totals(msgspec.Struct):
    """What a whole replay came to."""

    records: int = 0
    outcomes: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    reject_reasons: dict[str, int] = {}
    flags: dict[str, int] = {}
    closed_sessions: int = 0
    fallbacks: int = 0
    late: int = 0
    corrections: int = 0
    notices: list[str] = []

    def add(self, out: OutputBatch) -> None:
        for name in ("outcomes", "reject_reasons", "flags"):
            mine, theirs = getattr(self, name), getattr(out, name)
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        for name in ("closed_sessions", "fallbacks", "late", "corrections"):
            setattr(self, name, getattr(self, name) + getattr(out, name))
        self.notices += [notice for notice in out.notices if notice not in self.notices]

    @property
    def is_conserved(self) -> bool:
        """in = predicted + rejected + duplicates + heartbeats"""
        return self.records == sum(self.outcomes.values())


def from_files(events: Iterable[FileEvent], partitions: int) -> Iterator[InputRecord]:
    """File events on the partitions where a producer's murmur2 would put them."""
    offsets = [0] * partitions
    for event in events:
        partition = partition_of(event.key, partitions)
        yield InputRecord(
            partition, offsets[partition], event.received_at_ms, event.key, event.value
        )
        offsets[partition] += 1


class Replay:
    """Stores of all partitions and what has been played so far. With a ``course`` each partition
    goes through the routes that a worker recorded; without one ``engine`` answers throughout."""

    def __init__(
        self, topic: str, engine: Engine, config: CoreConfig, course: Course | None = None
    ) -> None:
        self.stores: dict[int, PartitionStore] = {}
        self.totals = Totals()
        self._topic, self._config, self._course = topic, config, course
        self.engines: Mapping[str, Engine] = {engine.version: engine}
        if course is not None:
            self.engines = {**course.engines, **self.engines}
        self._engine = engine
        self._routes: dict[int, Route] = {}

    def feed(self, records: list[InputRecord]) -> dict[str, list[Record]]:
        """Play records of any partitions; outputs by topic, ``row`` counting within the call."""
        by_partition: dict[int, list[int]] = {}
        for row, record in enumerate(records):
            by_partition.setdefault(record.partition, []).append(row)
        outputs: dict[str, list[Record]] = {name: [] for name in OUTPUTS}
        for partition, rows in by_partition.items():
            for part, out in self._played(partition, [records[row] for row in rows]):
                places = rows[part : part + 1] or rows[-1:]
                for name, kept in outputs.items():
                    kept += [
                        record._replace(
                            row=places[0] if record.row == BEFORE else rows[part + record.row]
                        )
                        for record in getattr(out, name)
                    ]
        self.totals.records += len(records)
        for kept in outputs.values():
            kept.sort(key=lambda record: record.row)
        return outputs

    def finish(self) -> dict[str, list[Record]]:
        """Carry out what the course orders behind the last record; ``row`` says nothing."""
        outputs: dict[str, list[Record]] = {name: [] for name in OUTPUTS}
        if self._course is None:
            return outputs
        for partition in sorted({*self.stores, *self._course.partitions}):
            store = self._store(partition)
            made = [
                self._play(partition, [], at, route) for at, route in self._turning(partition, _END)
            ]
            while store.record.erasures_due:
                made.append(self._play(partition, [], store.next_offset))
            for out in made:
                for name, kept in outputs.items():
                    kept += getattr(out, name)
        return outputs

    def _played(
        self, partition: int, records: list[InputRecord]
    ) -> Iterator[tuple[int, OutputBatch]]:
        """Outputs of one partition's records, each with the place of the first record that it
        belongs to: cut where the course turns."""
        if self._course is None:
            yield 0, self._play(partition, records)
            return
        start = 0
        for place, record in enumerate(records):
            turned = [*self._turning(partition, record.offset)]
            if turned and place > start:
                yield start, self._play(partition, records[start:place])
                start = place
            for offset, route in turned:
                yield place, self._play(partition, [], offset, route)
        yield start, self._play(partition, records[start:])

    def _turning(self, partition: int, offset: int) -> Iterator[tuple[int, Route]]:
        while self._course is not None and (leg := self._course.take(partition, offset)):
            yield leg

    def _play(
        self,
        partition: int,
        records: list[InputRecord],
        next_offset: int = 0,
        following: Route | None = None,
    ) -> OutputBatch:
        store = self._store(partition)
        route = self._routes.setdefault(partition, Route(store.record.live))
        if records:
            next_offset = records[-1].offset + 1
        batch = self._batch(partition, records, max(next_offset, store.next_offset))
        out = play(batch, store, self.engines, route, next_route=following)
        self._routes[partition] = route if following is None else following
        self.totals.add(out)
        return out

    def _store(self, partition: int) -> PartitionStore:
        store = self.stores.get(partition)
        if store is None:
            store = PartitionStore(partition, self._engine, self._config)
            self.stores[partition] = store
        return store

    def close(self) -> dict[str, list[Record]]:
        """End every open session, as the next day's events would."""
        beats = []
        for partition, store in sorted(self.stores.items()):
            if store.users:
                end_ms = store.watermark_ms + store.spec.session_gap_ms
                beat = msgspec.json.encode(RawClick(event_type=HEARTBEAT, timestamp=end_ms))
                beats.append(InputRecord(partition, store.next_offset, -1, None, beat))
        return self.feed(beats)

    def _batch(self, partition: int, records: list[InputRecord], next_offset: int) -> EventBatch:
        return EventBatch(
            topic=self._topic,
            partition=partition,
            offsets=[record.offset for record in records],
            timestamps_ms=[record.received_ms for record in records],
            keys=[record.key for record in records],
            values=[record.value for record in records],
            headers=[record.headers for record in records],
            next_offset=next_offset,
        )


def write_replay(
    records: Iterable[InputRecord],
    replay: Replay,
    directory: Path,
    close: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> Totals:
    """Replay into ``predictions.jsonl``, ``anomalies.jsonl`` and ``rejected.jsonl``.

    The files appear whole: they are written under another name and renamed at the end.
    """
    directory.mkdir(parents=True, exist_ok=True)
    partial = {name: directory / f"{name}.jsonl.partial" for name in OUTPUTS}
    files = {name: path.open("wb") for name, path in partial.items()}
    try:
        source = iter(records)
        while part := list(islice(source, BATCH_ROWS)):
            _write(files, replay.feed(part))
            progress(len(part))
        _write(files, replay.finish())
        if close:
            _write(files, replay.close())
    finally:
        for file in files.values():
            file.close()
    for name, path in partial.items():
        path.replace(directory / f"{name}.jsonl")
    return replay.totals


def _write(files: Mapping[str, BinaryIO], outputs: Mapping[str, list[Record]]) -> None:
    for name, records in outputs.items():
        files[name].writelines(record.value + b"\n" for record in records)
