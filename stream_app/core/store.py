"""The state of one partition: the only copy, columnar in memory, packed at its changelog edge.

All that an output depends on is in here and in the changelog: users, the expected offset, the
watermark, calibration reservoirs, learned transitions. Timers and the order of eviction follow from
the users' rows, so they are rebuilt instead of stored.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from model.spec import Engine
from stream_app.core import features
from stream_app.core.alerts import NO_ALERT, Alert
from stream_app.core.batch import Route
from stream_app.core.calibration import Reservoir
from stream_app.core.clean import reader
from stream_app.core.config import CoreConfig
from stream_app.core.events import ALERT_KINDS, OUTCOMES, AlertKind
from stream_app.core.privacy import PSEUDONYM_BYTES, event_hasher, pseudonymiser
from stream_app.core.state import FORMAT, NO_ACTION, Rows, StateCodec, StateError
from stream_app.core.transitions import Transitions

Change = tuple[bytes, bytes | None]
Seal = Callable[[bytes, bytes], bytes]

_USER, _PARTITION, _BLOCK, _TRANSITION = b"u", b"p", b"c", b"t"
PARTITION_KEY = _PARTITION
"""Key of the partition's record, which ends every micro-batch in the changelog."""
_FIRST_ROWS = 256


def unsealed(key: bytes, value: bytes) -> bytes:
    """The default ``seal`` and ``open_``: bytes as they are."""
    return value


ROUTE_FIELDS = ("live", "arm", "as_of", "shadow", "items_as_of", "degraded")
"""Fields of Route that the partition's record keeps under the same names."""


class KnownModel(msgspec.Struct, frozen=True):
    """A model that wrote rows which are still there: what it takes to read them."""

    version: str
    fingerprint: bytes
    actions: tuple[str, ...]
    hidden_width: int
    memory_dtype: str
    ring_length: int


class PartitionRecord(msgspec.Struct, kw_only=True):
    """What belongs to the partition and not to a user. ``next_offset`` is where the next batch
    has to start; a batch that starts elsewhere would double or lose events."""

    format: int = FORMAT
    model: str
    fingerprint: bytes
    actions: tuple[str, ...]
    next_offset: int = 0
    watermark_ms: int = -1
    expiry_bucket: int = -1
    live: str = ""  # the route in force: see ROUTE_FIELDS
    arm: str = "live"
    as_of: int = 0
    shadow: str | None = None
    items_as_of: int = 0
    degraded: int = 0
    erased_as_of: int = 0  # erasures ordered below this offset of the control topic are done
    generation: int = 0  # of ``models``: the one that writes rows now
    models: dict[int, KnownModel] = {}  # by the generation that rows carry
    outcomes: dict[str, int] = {}
    known_items: int = 0
    unknown_items: int = 0
    out_of_vocabulary: bool = False
    said_out_of_vocabulary: bool = False
    calibration: dict[str, int] = {}


class PartitionStore:
    """Rows by pseudonym for one partition, under one model."""

    def __init__(
        self,
        partition: int,
        engine: Engine,
        config: CoreConfig,
        seal: Seal = unsealed,
        open_: Seal = unsealed,
    ) -> None:
        features.check(engine.spec)
        self.partition = partition
        self.config = config
        self.spec = engine.spec
        self.codec = StateCodec(engine.spec)
        self.read = reader(config)
        self.pseudonym = pseudonymiser(config.pseudonym_key)
        self.event_hash = event_hasher(config.pseudonym_key)
        self.record = PartitionRecord(
            model=engine.version,
            fingerprint=engine.fingerprint,
            actions=engine.spec.actions,
            live=engine.version,
            outcomes=dict.fromkeys(OUTCOMES, 0),
        )
        self.rows: Rows = np.zeros(_FIRST_ROWS, self.codec.dtype)
        self.pseudonyms: list[bytes] = [b""] * _FIRST_ROWS
        # Pseudonym -> row, ordered by the last applied offset: the front is evicted first.
        self.slots: OrderedDict[bytes, int] = OrderedDict()
        self.reservoirs: dict[AlertKind, Reservoir] = {
            kind: Reservoir(engine.calibration.get(kind, np.zeros(0, np.float32)), size)
            for kind, size in ((kind, config.reservoir_size) for kind in ALERT_KINDS)
        }
        self.transitions = Transitions(config.max_transitions)
        self.long_ids: dict[bytes, bytes] = {}  # of newest events, where the row has no room
        self._initial = engine.initial(1)
        self._free = list(range(_FIRST_ROWS - 1, -1, -1))
        self._timers: list[tuple[int, int, int, bytes]] = []
        self._timer_of: dict[bytes, int] = {}
        self._timers_set = 0
        self.columns = self._columns()
        self._dirty: dict[bytes, None] = {}
        self._seal, self._open = seal, open_

    @property
    def next_offset(self) -> int:
        return self.record.next_offset

    @property
    def watermark_ms(self) -> int:
        """Largest accepted event time, -1 before the first."""
        return self.record.watermark_ms

    def route(self, blocked: frozenset[str], erasures: tuple[tuple[int, bytes], ...]) -> Route:
        """The route in force, as recorded. ``blocked`` and ``erasures`` are not: the caller folds
        both topics up to ``record.as_of`` and ``record.items_as_of``."""
        kept = {name: getattr(self.record, name) for name in ROUTE_FIELDS}
        return Route(blocked=blocked, erasures=erasures, **kept)

    def check_route(self, route: Route) -> None:
        """ValueError where ``route`` is not the recorded one."""
        for name in ROUTE_FIELDS:
            told, kept = getattr(route, name), getattr(self.record, name)
            if told != kept:
                raise ValueError(
                    f"partition {self.partition}: the route says {name} = {told!r}, recorded is "
                    f"{kept!r}; a new route is recorded by one batch and in force from the next"
                )

    def record_route(self, route: Route) -> None:
        for name in ROUTE_FIELDS:
            setattr(self.record, name, getattr(route, name))

    @property
    def erasures_due(self) -> bool:
        """Whether the next batch, even an empty one, carries out erasures that were recorded."""
        return self.record.erased_as_of < self.record.as_of

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

    # --- users

    def is_full(self) -> bool:
        return len(self.slots) >= self.config.max_users_per_partition

    def add(self, pseudonym: bytes) -> int:
        """A fresh row for a user who has none; the caller has made room."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        self.rows[row] = 0
        column = self.columns
        column["format"][row] = FORMAT
        column["alert_offset"][row] = column["newest_offset"][row] = -1
        column["expected_item"][row] = -1
        column["expected_action"][row] = NO_ACTION
        column["hidden"][row] = column["anchor"][row] = self._initial.hidden[0]
        column["log_z"][row] = column["anchor_log_z"][row] = self._initial.log_z[0]
        self.pseudonyms[row] = pseudonym
        self.slots[pseudonym] = row
        return row

    def touch(self, pseudonym: bytes) -> None:
        """The user's state changes: newest in the order of eviction, due for the changelog."""
        self.slots.move_to_end(pseudonym)
        self._dirty[pseudonym] = None

    def mark(self, pseudonym: bytes) -> None:
        """The user's state changes without an event of theirs: due for the changelog only."""
        self._dirty[pseudonym] = None

    def remove(self, pseudonym: bytes) -> None:
        row = self.slots.pop(pseudonym)
        self.columns["sessions_total"][row] = 0
        self._free.append(row)
        self._timer_of.pop(pseudonym, None)
        self.long_ids.pop(pseudonym, None)
        self._dirty[pseudonym] = None

    def oldest(self) -> bytes:
        """The user whose last applied offset is the smallest."""
        return next(iter(self.slots))

    def idle_since(self, before_ms: int) -> list[bytes]:
        """Users whose newest event is older than a time, in the order of eviction."""
        column = self.columns
        live = column["sessions_total"] > 0
        idle = np.flatnonzero(live & (column["last_event_ms"] < before_ms))
        idle = idle[np.argsort(column["last_offset"][idle])]
        return [self.pseudonyms[row] for row in idle.tolist()]

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
        self.rows = np.concatenate([self.rows, np.zeros(size, self.codec.dtype)])
        self.pseudonyms.extend([b""] * size)
        self._free = list(range(2 * size - 1, size - 1, -1))
        self.columns = self._columns()

    def _columns(self) -> dict[str, Any]:
        """Views of the rows by field: naming a field of a structured array costs as much as
        reading a value of it."""
        return {name: self.rows[name] for name in self.rows.dtype.names or ()}

    # --- session timers, in event time

    def set_timer(self, pseudonym: bytes, row: int) -> None:
        """Have the session closed once the watermark passes its last event by the session gap."""
        if pseudonym not in self._timer_of:
            self._push(pseudonym, self._due(row))

    def pop_due(self, watermark_ms: int) -> tuple[int, bytes, int] | None:
        """(deadline, pseudonym, row) of the first session that is due, or None.

        A user has one timer, set when a session opens; it moves on when it fires early. So events
        cost nothing here, and sessions still come in the order of their true deadlines.
        """
        while self._timers and self._timers[0][0] <= watermark_ms:
            deadline, offset, number, pseudonym = heapq.heappop(self._timers)
            if self._timer_of.get(pseudonym) != number:
                continue
            del self._timer_of[pseudonym]
            row = self.slots[pseudonym]
            if not self.columns["session_open"][row]:
                continue
            due = self._due(row)
            if due == (deadline, offset):
                return deadline, pseudonym, row
            self._push(pseudonym, due)
        return None

    def _push(self, pseudonym: bytes, due: tuple[int, int]) -> None:
        self._timers_set += 1
        self._timer_of[pseudonym] = self._timers_set
        heapq.heappush(self._timers, (*due, self._timers_set, pseudonym))

    def _due(self, row: int) -> tuple[int, int]:
        last_ms, offset = self.columns["last_event_ms"][row], self.columns["last_offset"][row]
        return int(last_ms) + self.spec.session_gap_ms, int(offset)

    # --- the changelog's edge

    def take_changes(self) -> list[Change]:
        """Records (key, value or tombstone) of all that changed since the last call, the partition
        record last: whoever finds it has everything before it."""
        live = [pseudonym for pseudonym in self._dirty if pseudonym in self.slots]
        gone = [pseudonym for pseudonym in self._dirty if pseudonym not in self.slots]
        changes: list[Change] = [(_USER + pseudonym, None) for pseudonym in gone]
        pairs = self._users(live)
        for number, reservoir in enumerate(self.reservoirs.values()):
            pairs += _blocks(number, reservoir.take_changes())
        for key, value in self.transitions.take_changes():
            if value is None:
                changes.append((_TRANSITION + key, None))
            else:
                pairs.append((_TRANSITION + key, value))
        self.record.calibration = {kind: len(r) for kind, r in self.reservoirs.items()}
        pairs.append((_PARTITION, msgspec.msgpack.encode(self.record)))
        self._dirty = {}
        return changes + self._sealed(pairs)

    def _users(self, pseudonyms: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        rows = np.array([self.slots[pseudonym] for pseudonym in pseudonyms], np.intp)
        held = self.long_ids
        tails = {n: held[name] for n, name in enumerate(pseudonyms) if name in held}
        values = self.codec.pack(self.rows[rows], tails)
        return [(_USER + p, value) for p, value in zip(pseudonyms, values, strict=True)]

    def records(self, count: int) -> Iterator[list[Change]]:
        """The whole state as records of the changelog, in slices of about ``count``.

        Batches may be played between two slices. Then a slice holds what was true when it was
        taken, and only with all later changes applied on top the records make one state.
        """
        first = 0
        while first < len(self.rows):
            held = enumerate(self.pseudonyms[first : first + count], first)
            yield self._sealed(self._users([p for row, p in held if self.slots.get(p) == row]))
            first += count
        for number, reservoir in enumerate(self.reservoirs.values()):
            yield self._sealed(_blocks(number, reservoir.records()))
        for pairs in self.transitions.records(count):
            yield self._sealed([(_TRANSITION + key, value) for key, value in pairs])
        yield self._sealed([(_PARTITION, msgspec.msgpack.encode(self.record))])

    def _sealed(self, pairs: Iterable[tuple[bytes, bytes]]) -> list[Change]:
        return [(key, self._seal(key, value)) for key, value in pairs]

    def restore(self, records: Iterable[Change]) -> None:
        """Apply changelog records in their order; StateError for a foreign format or model."""
        for key, sealed in records:
            value = None if sealed is None else self._open(key, sealed)
            try:
                self._restore(key, value)
            except StateError:
                raise
            except (msgspec.MsgspecError, ValueError, LookupError) as error:
                raise StateError(f"changelog record {key[:8]!r} is unreadable: {error}") from error

    def _restore(self, key: bytes, value: bytes | None) -> None:
        kind, name = key[:1], key[1:]
        if kind == _USER and len(name) == PSEUDONYM_BYTES:
            self._restore_user(name, value)
        elif key == _PARTITION and value is not None:
            self._restore_record(value)
        elif kind == _BLOCK and len(name) == 3 and value is not None:
            reservoir = list(self.reservoirs.values())[name[0]]
            reservoir.restore(int.from_bytes(name[1:], "big"), value)
        elif kind == _TRANSITION and len(name) in (0, 4):
            self.transitions.restore(name, value)
        else:
            raise StateError(
                f"changelog key {key[:8]!r} is not ClickAhead's. The topic belongs to another "
                "program: choose another worker.app_id."
            )

    def recovered(self) -> None:
        """Call once after the last ``restore``: timers and orders follow from the rows."""
        pairs = list(self.slots.items())
        offsets = self.rows["last_offset"][np.array([row for _, row in pairs], np.intp)]
        order = np.argsort(offsets, kind="stable").tolist()
        self.slots = OrderedDict(pairs[i] for i in order)
        self._timers, self._timer_of = [], {}
        for pseudonym, row in self.slots.items():
            if self.columns["session_open"][row]:
                self.set_timer(pseudonym, row)
        for reservoir in self.reservoirs.values():
            reservoir.rank()
        self.transitions.order()
        self._dirty = {}

    def _restore_user(self, pseudonym: bytes, value: bytes | None) -> None:
        if value is None:
            if pseudonym in self.slots:
                self.remove(pseudonym)
            return
        row = self.slots.get(pseudonym)
        if row is None:
            row = self.add(pseudonym)
        self.rows[row] = self.codec.unpack(value)[0]
        self.long_ids.pop(pseudonym, None)
        if tail := self.codec.tail(value):
            self.long_ids[pseudonym] = tail

    def _restore_record(self, value: bytes) -> None:
        record = msgspec.msgpack.decode(value, type=PartitionRecord)
        if record.fingerprint != self.record.fingerprint:
            raise StateError(
                f"the changelog holds state of model {record.model}, the worker serves "
                f"{self.record.model}. Serve that model, or start under a new worker.app_id."
            )
        if not record.live:  # written before routes were recorded
            record.live = record.model
        self.record = record


def _blocks(number: int, blocks: Iterable[tuple[int, bytes]]) -> list[tuple[bytes, bytes]]:
    """Records of a reservoir, by its place among the kinds of alerts."""
    return [(_BLOCK + bytes([number]) + at.to_bytes(2, "big"), scores) for at, scores in blocks]
