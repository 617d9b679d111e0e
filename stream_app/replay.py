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
from stream_app.core.batch import EventBatch, Headers, OutputBatch, Record, Route
from stream_app.core.config import CoreConfig
from stream_app.core.events import HEARTBEAT, OUTCOMES, RawClick
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from stream_app.files import FileEvent
from stream_app.partitioning import partition_of

BATCH_ROWS = 4096
OUTPUTS = ("predictions", "anomalies", "rejected")


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
    """Stores of all partitions and what has been played so far."""

    def __init__(self, topic: str, engine: Engine, config: CoreConfig) -> None:
        self.stores: dict[int, PartitionStore] = {}
        self.totals = Totals()
        self._topic, self._config = topic, config
        self._engines: Mapping[str, Engine] = {engine.version: engine}
        self._engine, self._route = engine, Route(engine.version)

    def feed(self, records: list[InputRecord]) -> dict[str, list[Record]]:
        """Play records of any partitions; outputs by topic, ``row`` counting within the call."""
        by_partition: dict[int, list[int]] = {}
        for row, record in enumerate(records):
            by_partition.setdefault(record.partition, []).append(row)
        outputs: dict[str, list[Record]] = {name: [] for name in OUTPUTS}
        for partition, rows in by_partition.items():
            store = self.stores.get(partition)
            if store is None:
                store = PartitionStore(partition, self._engine, self._config)
                self.stores[partition] = store
            batch = self._batch(partition, [records[row] for row in rows])
            out = play(batch, store, self._engines, self._route)
            for name, kept in outputs.items():
                kept += [record._replace(row=rows[record.row]) for record in getattr(out, name)]
            self.totals.add(out)
        self.totals.records += len(records)
        for kept in outputs.values():
            kept.sort(key=lambda record: record.row)
        return outputs

    def close(self) -> dict[str, list[Record]]:
        """End every open session, as the next day's events would."""
        beats = []
        for partition, store in sorted(self.stores.items()):
            if store.users:
                end_ms = store.watermark_ms + store.spec.session_gap_ms
                beat = msgspec.json.encode(RawClick(event_type=HEARTBEAT, timestamp=end_ms))
                beats.append(InputRecord(partition, store.next_offset, -1, None, beat))
        return self.feed(beats)

    def _batch(self, partition: int, records: list[InputRecord]) -> EventBatch:
        return EventBatch(
            topic=self._topic,
            partition=partition,
            offsets=[record.offset for record in records],
            timestamps_ms=[record.received_ms for record in records],
            keys=[record.key for record in records],
            values=[record.value for record in records],
            headers=[record.headers for record in records],
            next_offset=records[-1].offset + 1,
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
