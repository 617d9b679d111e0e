"""The users of one partition, columnar in memory: rows by pseudonym in the layout of a model."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.spec import Engine, Memory, ModelSpec
from stream_app.core import compiled
from stream_app.core.alerts import NO_ALERT, Alert
from stream_app.core.changelog import USER
from stream_app.core.generations import relaid, same_layout, translated
from stream_app.core.partition_record import PartitionRecord
from stream_app.core.state import FORMAT, NO_ACTION, Rows, StateCodec
from stream_app.core.user_index import user_index

_FIRST_ROWS = 256


class _Blank(NamedTuple):
    """What the row of a user holds before the first event, and of what it follows."""

    codec: StateCodec
    initial: Memory
    generation: int
    content: npt.NDArray[np.uint8]  # [bytes of a row]


def _blank_row(codec: StateCodec, initial: Memory, generation: int) -> _Blank:
    row = np.zeros(1, codec.dtype)
    row["format"], row["generation"] = FORMAT, generation
    row["alert_offset"] = row["newest_offset"] = -1
    row["expected_item"], row["expected_action"] = -1, NO_ACTION
    row["hidden"] = row["anchor"] = initial.hidden[0]
    row["log_z"] = row["anchor_log_z"] = initial.log_z[0]
    return _Blank(codec, initial, generation, row.view(np.uint8))


class UserTable:
    """Rows that are used again, the order of eviction, and who changed since the last record.

    ``record`` names the models that wrote the rows: without it they cannot be read.
    """

    def __init__(self, engine: Engine, record: PartitionRecord) -> None:
        self.record = record
        self.spec = engine.spec
        self.codec = StateCodec(engine.spec)
        self._hold(np.zeros(_FIRST_ROWS, self.codec.dtype))
        self.slots = user_index()  # ordered by the last applied offset
        self.long_ids: dict[bytes, bytes] = {}  # of newest events, where the row has no room
        self.strangers: dict[bytes, bytes] = {}  # restored values that do not fit the layout
        self.stale_users = 0  # whose memory an earlier generation wrote
        self.changed: dict[bytes, None] = {}
        # Steps are counted over all passes: a number below a pass's first is none of its steps.
        self.steps_total = 1
        self.step_numbers = np.zeros(_FIRST_ROWS, np.int64)  # of a row's newest step
        self._initial = engine.initial(1)
        self._blank = _blank_row(self.codec, self._initial, record.generation)
        self._free: list[int] = []  # rows that somebody had
        self._first_fresh = 0  # from here on nobody had them

    @property
    def users(self) -> int:
        return len(self.slots)

    @property
    def state_bytes(self) -> int:
        """Bytes of the users' packed state, as the changelog holds it."""
        ring = self.codec.dtype.fields["ring"]  # type: ignore[index]
        head, entry = ring[1], ring[0].itemsize // self.spec.ring_length
        filled = self.columns["used"][self.columns["sessions_total"] > 0]
        tails = sum(map(len, self.long_ids.values()))
        return int(head * len(self.slots) + entry * filled.sum(dtype=np.int64)) + tails

    def add(self, pseudonym: bytes) -> int:
        """A fresh row for a user who has none; the caller has made room."""
        row = self.room_for(pseudonym)
        blank = self._blank
        if not (
            blank.codec is self.codec
            and blank.initial is self._initial
            and blank.generation == self.record.generation
        ):
            blank = self._blank = _blank_row(self.codec, self._initial, self.record.generation)
        # As bytes: field by field it takes as long as all else that is done for a click.
        start = row * len(blank.content)
        self.row_bytes[start : start + len(blank.content)] = blank.content
        return row

    def room_for(self, pseudonym: bytes) -> int:
        """A row with whatever its last user left in it."""
        if self._free:
            row = self._free.pop()
        else:
            row = self._first_fresh
            self._first_fresh += 1
            if row == len(self.rows):
                self._grow()
        self.slots.put(pseudonym, row)
        return row

    def touch(self, pseudonym: bytes) -> None:
        """The user's state changes: newest in the order of eviction, due for the changelog."""
        self.slots.touch(pseudonym)
        self.changed[pseudonym] = None

    def mark(self, pseudonym: bytes) -> None:
        """The user's state changes without an event of theirs: due for the changelog only."""
        self.changed[pseudonym] = None

    def remove(self, pseudonym: bytes) -> None:
        row = self.slots.pop(pseudonym)
        self.stale_users -= self.is_stale(row)
        self.columns["sessions_total"][row] = 0
        self._free.append(row)
        self.strangers.pop(pseudonym, None)
        self.long_ids.pop(pseudonym, None)
        self.changed[pseudonym] = None

    def is_stale(self, row: int) -> bool:
        """Whether another generation wrote the row's memory: it has none until it is rebuilt."""
        return bool(self.columns["generation"][row] != self.record.generation)

    def oldest(self) -> bytes:
        """The user whose last applied offset is the smallest."""
        return self.slots.oldest()

    def idle_since(self, before_ms: int) -> list[bytes]:
        """Users whose newest event is older than a time, in the order of eviction."""
        column = self.columns
        live = column["sessions_total"] > 0
        idle = np.flatnonzero(live & (column["last_event_ms"] < before_ms))
        idle = idle[np.argsort(column["last_offset"][idle])]
        return [self.slots.name_of(row) for row in idle.tolist()]

    def alert(self, row: int) -> Alert:
        """The alert that a row holds; NO_ALERT where none is open."""
        column = self.columns
        if int(column["alert_offset"][row]) < 0:
            return NO_ALERT
        return Alert(
            int(column["alert_opened_ms"][row]),
            int(column["alert_offset"][row]),
            int(column["alert_events"][row]),
            int(column["alert_quiet"][row]),
            int(column["alert_severity"][row]),
            float(column["alert_peak"][row]),
        )

    def set_alert(self, row: int, alert: Alert) -> None:
        for name, value in zip(Alert._fields, alert, strict=True):
            self.columns[f"alert_{name}"][row] = value

    def _grow(self) -> None:
        size = len(self.rows)
        rows = np.zeros(2 * size, self.codec.dtype)
        # As bytes: field by field it takes long. The new half is no memory until it is written.
        rows.view(np.uint8)[: self.rows.nbytes] = self.rows.view(np.uint8)
        self._hold(rows)
        self.step_numbers = np.append(self.step_numbers, np.zeros(size, np.int64))

    def _hold(self, rows: Rows) -> None:
        """Take rows, with views of them: by field, since naming a field of a structured array costs
        as much as reading a value of it, and as bytes."""
        self.rows = rows
        self.columns: dict[str, Any] = {name: rows[name] for name in rows.dtype.names or ()}
        self.row_bytes: npt.NDArray[np.uint8] = rows.view(np.uint8)

    def occupied(self) -> npt.NDArray[np.intp]:
        """The users' rows, in the order of ``slots``."""
        return np.frombuffer(self.slots.rows(), np.int64)

    def order(self) -> None:
        """Bring ``slots`` into the order of eviction, which follows from the rows."""
        rows = self.occupied()
        self.slots.arrange(rows[np.argsort(self.columns["last_offset"][rows], kind="stable")])

    def packed(self, pseudonyms: Sequence[bytes]) -> list[bytes]:
        """Values of users as the changelog holds them."""
        if compiled.passes is not None and not self.long_ids:
            return compiled.passes.packed(
                self.row_bytes, self.codec.layout, self.slots, list(pseudonyms)
            )
        rows = np.array([self.slots[pseudonym] for pseudonym in pseudonyms], np.intp)
        held = self.long_ids
        tails = {n: held[name] for n, name in enumerate(pseudonyms) if name in held}
        return self.codec.pack(self.rows[rows], tails)

    def changed_users(self) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        """Keys of those of ``changed`` who are gone, and records of the others."""
        if compiled.passes is not None and not self.long_ids:
            place = self.row_bytes, self.codec.layout
            return compiled.passes.changes(*place, self.slots, self.changed, USER)
        gone = [USER + pseudonym for pseudonym in self.changed if pseudonym not in self.slots]
        return gone, self.users_records([p for p in self.changed if p in self.slots])

    def users_records(self, pseudonyms: list[bytes]) -> list[tuple[bytes, bytes]]:
        """(key, value) of users as the changelog holds them."""
        values = self.packed(pseudonyms)
        return [(USER + p, value) for p, value in zip(pseudonyms, values, strict=True)]

    # --- generations of models

    def rebuilt(self, rows: npt.NDArray[np.intp]) -> None:
        """Rows whose memory the present model has made anew."""
        self.columns["generation"][rows] = self.record.generation
        self.stale_users -= len(rows)

    def lay_out(self, spec: ModelSpec) -> None:
        """Move all rows to the layout of a model; memories are lost where it is another one."""
        if not same_layout(spec, self.codec.spec):
            self._hold(relaid(self.rows, spec))
        self.spec, self.codec = spec, StateCodec(spec)

    def move_generation(self, number: int) -> None:
        """Move the rows of a generation whose number is needed to the present one's number."""
        record = self.record
        of, to = record.models[number].actions, record.models[record.generation].actions
        for pseudonym, row in zip(self.slots, self.occupied().tolist(), strict=True):
            if int(self.columns["generation"][row]) == number:
                translated(self.rows[row : row + 1], of, to)
                self.columns["generation"][row] = record.generation
                self.changed[pseudonym] = None
