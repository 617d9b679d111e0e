"""A partition's past played again, from a commit up to the record that caused an output. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from model.spec import Advance, Engine, Memory, Rounds, Tokens
from stream_app.core.batch import EventBatch, OutputBatch, Record, Route
from stream_app.core.config import CoreConfig
from stream_app.core.events import AlertKind
from stream_app.core.partition_record import PartitionRecord
from stream_app.core.pipeline import play
from stream_app.core.state import Rows
from stream_app.core.store import PartitionStore
from stream_app.delegates import Delegate
from stream_app.history import Commit, Past
from stream_app.invocation import ExitCode
from stream_app.replay import InputRecord

PIECE = 4_096

Routes = Callable[[PartitionRecord], Route]
"""The route that a partition's record says, with what its side inputs forbade up to then."""


class Step(NamedTuple):
    """One call of a model, as it was made: for one token, or for several as ``Rounds`` has it."""

    version: str
    tokens: Tokens
    memory: Memory
    result: Advance


class Recorded(Delegate):
    """An engine that remembers its calls."""

    def __init__(self, engine: Engine, steps: list[Step]) -> None:
        super().__init__(engine)
        self._steps = steps

    def advance(self, tokens: Tokens, memory: Memory, rounds: Rounds = ()) -> Advance:
        result = super().advance(tokens, memory, rounds)
        self._steps.append(Step(self.version, tokens, memory, result))
        return result


class Cause(NamedTuple):
    """The record that an output came of, with everything around it."""

    record: InputRecord | None  # None where an order was behind it
    route: Route
    before: Rows | None  # the user's row before it [1]; None: had none
    after: Rows | None  # and behind it; None: the user left the state
    calibration: Mapping[AlertKind, int]  # scores behind each kind's p-values, before it
    steps: list[Step]
    outputs: OutputBatch
    store: PartitionStore  # as it is behind it
    played: int  # records since the commit


class RebuildError(RuntimeError):
    """The topics do not fit together any more; the message says where."""

    exit_code: ClassVar[int] = ExitCode.BEYOND_HORIZON


def restored(past: Past, partition: int, engine: Engine, config: CoreConfig) -> PartitionStore:
    """The store as it was at ``past.before``. Raises StateError for another model's state."""
    store = PartitionStore(partition, engine, config)
    if past.before is not None:
        store.restore(past.state.items())
        store.recovered()
    return store


class Player:
    """Plays the commits of a past one after the other."""

    def __init__(
        self,
        topic: str,
        store: PartitionStore,
        engines: Mapping[str, Engine],
        routes: Routes,
        user: bytes,
    ) -> None:
        self._topic, self._store, self._user = topic, store, user
        self._steps: list[Step] = []
        self._engines = {v: Recorded(engine, self._steps) for v, engine in engines.items()}
        self._routes = routes
        self.played = 0

    def pass_over(self, records: Sequence[InputRecord], commit: Commit) -> None:
        """Play the whole micro-batch of a commit; nobody asks for what comes out."""
        pieces = [records[at : at + PIECE] for at in range(0, len(records), PIECE)] or [[]]
        for number, piece in enumerate(pieces, 1):
            self._play(piece, commit, is_last=number == len(pieces))
            self._steps.clear()

    def causes(
        self, records: Sequence[InputRecord], commit: Commit, from_offset: int
    ) -> Iterator[Cause]:
        """Play a micro-batch, the records from an offset on one by one."""
        early = [record for record in records if record.offset < from_offset]
        single = records[len(early) :]
        if early or not single:
            yield self._cause(early, commit, is_last=not single)
        for number, record in enumerate(single, 1):
            yield self._cause([record], commit, is_last=number == len(single))

    def _cause(self, records: Sequence[InputRecord], commit: Commit, is_last: bool) -> Cause:
        self._steps.clear()
        before, store = self._row(), self._store
        calibration = {kind: len(held) for kind, held in store.reservoirs.items()}
        route, out = self._play(records, commit, is_last)
        record = records[0] if len(records) == 1 else None
        return Cause(
            record, route, before, self._row(), calibration, [*self._steps], out, store, self.played
        )

    def _row(self) -> Rows | None:
        row = self._store.slots.get(self._user)
        return None if row is None else np.copy(self._store.rows[row : row + 1])

    def _play(
        self, records: Sequence[InputRecord], commit: Commit, is_last: bool
    ) -> tuple[Route, OutputBatch]:
        route = self._routes(self._store.record)
        following = self._routes(commit.record) if is_last else None
        end = commit.record.next_offset if is_last else records[-1].offset + 1
        batch = event_batch(self._topic, self._store.partition, records, end)
        engines: Any = self._engines
        out = play(batch, self._store, engines, route, next_route=following)
        self.played += len(records)
        return route, out


def event_batch(topic: str, partition: int, records: Sequence[InputRecord], end: int) -> EventBatch:
    """Records of one partition as the core takes them; the next batch starts at ``end``."""
    return EventBatch(
        topic=topic,
        partition=partition,
        offsets=[record.offset for record in records],
        timestamps_ms=[record.received_ms for record in records],
        keys=[record.key for record in records],
        values=[record.value for record in records],
        headers=[record.headers for record in records],
        next_offset=end,
    )


def check_count(
    records: Sequence[InputRecord], start: PartitionRecord | None, end: PartitionRecord
) -> None:
    """RebuildError where a micro-batch took another number of records than are there now."""
    taken = sum(end.outcomes.values()) - (sum(start.outcomes.values()) if start else 0)
    if taken != len(records):
        raise RebuildError(
            f"The worker took {taken} records up to offset {end.next_offset}, and the input topic"
            f" holds {len(records)} of them. They were deleted since, or the topic was made anew."
        )


def outputs_of(outputs: OutputBatch) -> list[tuple[str, Record]]:
    """All outputs with their roles."""
    roles = ("predictions", "anomalies", "rejected")
    return [(role, record) for role in roles for record in getattr(outputs, role)]
