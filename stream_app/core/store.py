"""The state of one partition: the only copy, columnar in memory, packed at its changelog edge.

All that an output depends on is in here and in the changelog: users, the expected offset, the
watermark, calibration reservoirs, learned transitions. Timers and the order of eviction follow from
the users' rows, so they are rebuilt instead of stored.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress, islice
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from model.spec import Engine, ModelSpec
from stream_app.core import features
from stream_app.core.alerts import NO_ALERT, Alert
from stream_app.core.batch import Route
from stream_app.core.calibration import Reservoir
from stream_app.core.clean import reader
from stream_app.core.config import CoreConfig
from stream_app.core.events import ALERT_KINDS, OUTCOMES, AlertKind
from stream_app.core.generations import (
    MEMORY_FIELDS,
    KnownModel,
    read_stranger,
    relaid,
    same_layout,
    succession,
    translated,
    trimmed,
)
from stream_app.core.privacy import PSEUDONYM_BYTES, event_hasher, pseudonymiser
from stream_app.core.recall import LiveRecall
from stream_app.core.shadow import Shadow
from stream_app.core.state import FORMAT, NO_ACTION, Rows, StateCodec, StateError
from stream_app.core.transitions import Transitions

Change = tuple[bytes, bytes | None]
Seal = Callable[[bytes, bytes], bytes]

_USER, _PARTITION, _BLOCK, _TRANSITION = b"u", b"p", b"c", b"t"
PARTITION_KEY = _PARTITION
"""Key of the partition's record, which ends every micro-batch in the changelog."""
_USER_KEY_BYTES = len(_USER) + PSEUDONYM_BYTES
_FIRST_ROWS = 256
_CHUNK_RECORDS = 1024


def unsealed(key: bytes, value: bytes) -> bytes:
    """The default ``seal`` and ``open_``: bytes as they are."""
    return value


ROUTE_FIELDS = ("live", "arm", "as_of", "shadow", "items_as_of", "degraded")
"""Fields of Route that the partition's record keeps under the same names."""


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
            models={0: KnownModel.of(engine)},
            outcomes=dict.fromkeys(OUTCOMES, 0),
        )
        self.rows: Rows = np.zeros(_FIRST_ROWS, self.codec.dtype)
        self.pseudonyms: list[bytes] = [b""] * _FIRST_ROWS
        # Pseudonym -> row, ordered by the last applied offset: the front is evicted first.
        self.slots: OrderedDict[bytes, int] = OrderedDict()
        self.reservoirs = self._shipped(engine)
        self.transitions = Transitions(config.max_transitions)
        self.long_ids: dict[bytes, bytes] = {}  # of newest events, where the row has no room
        self.shadow: Shadow | None = None  # feeds metrics only, as does recall
        self.recall = LiveRecall()
        self.stale_users = 0  # whose memory an earlier generation wrote
        self._serving, self._own = engine.version, KnownModel.of(engine)
        self._blocks: dict[tuple[int, int], bytes] = {}  # restored, of reservoirs
        self._gone_blocks: list[bytes] = []  # of the reservoirs before a swap
        self._strangers: dict[bytes, bytes] = {}  # restored values that do not fit the layout
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
        row = self._room_for(pseudonym)
        self.rows[row] = 0
        column = self.columns
        column["format"][row] = FORMAT
        column["generation"][row] = self.record.generation
        column["alert_offset"][row] = column["newest_offset"][row] = -1
        column["expected_item"][row] = -1
        column["expected_action"][row] = NO_ACTION
        column["hidden"][row] = column["anchor"][row] = self._initial.hidden[0]
        column["log_z"][row] = column["anchor_log_z"][row] = self._initial.log_z[0]
        return row

    def _room_for(self, pseudonym: bytes) -> int:
        """A row with whatever its last user left in it."""
        if not self._free:
            self._grow()
        row = self._free.pop()
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
        self.stale_users -= self.is_stale(row)
        self.columns["sessions_total"][row] = 0
        self._free.append(row)
        self._timer_of.pop(pseudonym, None)
        self._strangers.pop(pseudonym, None)
        self.long_ids.pop(pseudonym, None)
        self._dirty[pseudonym] = None

    def is_stale(self, row: int) -> bool:
        """Whether another generation wrote the row's memory: it has none until it is rebuilt."""
        return bool(self.columns["generation"][row] != self.record.generation)

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
        rows = np.zeros(2 * size, self.codec.dtype)
        # As bytes: field by field it takes long. The new half is no memory until it is written.
        rows.view(np.uint8)[: self.rows.nbytes] = self.rows.view(np.uint8)
        self.rows = rows
        self.pseudonyms.extend([b""] * size)
        self._free = list(range(2 * size - 1, size - 1, -1))
        self.columns = self._columns()

    def _columns(self) -> dict[str, Any]:
        """Views of the rows by field: naming a field of a structured array costs as much as
        reading a value of it."""
        return {name: self.rows[name] for name in self.rows.dtype.names or ()}

    # --- generations of models

    def serve(self, engine: Engine) -> None:
        """Go on under the model that the record names; what follows from it alone is rebuilt."""
        if engine.version == self._serving:
            return
        self._bind(engine)
        self.reservoirs = self._shipped(engine)
        self._fill_reservoirs()

    def swap(self, engine: Engine) -> None:
        """Let another model answer from the next batch on. Rows of the one before wait for their
        user's next event; verdicts start from the calibration that the new model ships."""
        features.check(engine.spec)
        record, column = self.record, self.columns
        live = column["sessions_total"] > 0
        held = frozenset(np.unique(column["generation"][live]).tolist())
        number, models = succession(record.models, record.generation, held, engine)
        if number in held:
            self._move_generation(number)
        record.model, record.fingerprint = engine.version, engine.fingerprint
        record.actions, record.generation, record.models = engine.spec.actions, number, models
        record.known_items = record.unknown_items = 0
        record.out_of_vocabulary = record.said_out_of_vocabulary = False
        self.stale_users = len(self.slots)
        has_other_gap = self.spec.session_gap_ms != engine.spec.session_gap_ms
        self._lay_out(engine.spec)
        for name in MEMORY_FIELDS:
            self.columns[name][:] = 0
        self._bind(engine)
        self._start_reservoirs(engine)
        if has_other_gap:
            self._set_timers(list(self.slots), self._occupied())

    def watch_by(self, shadow: Engine | None, live: Engine) -> None:
        """Have a model watched beside the live one, from the next pass on; None: no model."""
        if shadow is None:
            self.shadow = None
            return
        held = self.shadow
        if held is None or (held.version, held.live_version) != (shadow.version, live.version):
            self.shadow = Shadow(shadow, live)

    def rebuilt(self, rows: npt.NDArray[np.intp]) -> None:
        """Rows whose memory the present model has made anew."""
        self.columns["generation"][rows] = self.record.generation
        self.stale_users -= len(rows)

    def _bind(self, engine: Engine) -> None:
        features.check(engine.spec)
        self.spec, self._serving, self.recall = engine.spec, engine.version, LiveRecall()
        self._initial = engine.initial(1)

    def _lay_out(self, spec: ModelSpec) -> None:
        """Move all rows to the layout of a model; memories are lost where it is another one."""
        if not same_layout(spec, self.codec.spec):
            self.rows = relaid(self.rows, spec)
            self.columns = self._columns()
        self.spec, self.codec = spec, StateCodec(spec)

    def _move_generation(self, number: int) -> None:
        """Move the rows of a generation whose number is needed to the present one's number."""
        record = self.record
        of, to = record.models[number].actions, record.models[record.generation].actions
        for pseudonym, row in self.slots.items():
            if int(self.columns["generation"][row]) == number:
                translated(self.rows[row : row + 1], of, to)
                self.columns["generation"][row] = record.generation
                self._dirty[pseudonym] = None

    def _shipped(self, engine: Engine) -> dict[AlertKind, Reservoir]:
        size, nothing = self.config.reservoir_size, np.zeros(0, np.float32)
        return {
            kind: Reservoir(engine.calibration.get(kind, nothing), size) for kind in ALERT_KINDS
        }

    def _start_reservoirs(self, engine: Engine) -> None:
        """Begin with what a model ships, and take from the changelog what the one before had."""
        old = [
            key
            for n, r in enumerate(self.reservoirs.values())
            for key, _ in _blocks(n, r.records())
        ]
        old += [_block_key(number, block) for number, block in self._blocks]
        self.reservoirs, self._blocks = self._shipped(engine), {}
        for reservoir in self.reservoirs.values():
            reservoir.change_all()
        self._gone_blocks += old

    def _fill_reservoirs(self) -> None:
        """Put the restored blocks over what the model ships."""
        reservoirs = list(self.reservoirs.values())
        for (number, block), scores in sorted(self._blocks.items()):
            reservoirs[number].restore(block, scores)
        for reservoir in reservoirs:
            reservoir.rank()
        self._blocks = {}

    def _settle_generations(self, occupied: npt.NDArray[np.intp]) -> None:
        """After the last restored record: give every row the layout of the model in the record,
        and take from stale rows what a swap takes. ``occupied``: the users' rows."""
        record = self.record
        if not record.models:  # written before there were generations
            self._settle_first_generation()
        live = record.models[record.generation]
        if live.version != self._serving:
            self._lay_out(live.layout())
        else:
            self._fill_reservoirs()
        for pseudonym, value in self._strangers.items():
            row = self.slots[pseudonym]
            self.rows[row] = self._adopted(value)
        self._strangers = {}
        numbers = self.columns["generation"][occupied]
        stale = occupied[numbers != record.generation]
        self.stale_users = len(stale)
        for number in np.unique(self.columns["generation"][stale]).tolist():
            if number not in record.models:
                raise StateError(
                    f"a user's state is of model generation {number}, which the partition's record "
                    "does not name: the changelog lacks records. Start under a new worker.app_id."
                )
            rows = stale[self.columns["generation"][stale] == number]
            self.rows[rows] = trimmed(self.rows[rows], record.models[number].kept, self.spec)

    def _settle_first_generation(self) -> None:
        record = self.record
        own = msgspec.structs.replace(
            self._own, version=record.model, fingerprint=record.fingerprint, actions=record.actions
        )
        record.live, record.models = record.model, {0: own}
        if record.model != self._serving:
            # Their widths are not known: let all memories be made anew.
            record.generation, record.models = 1, {0: own, 1: own}

    def _adopted(self, value: bytes) -> Rows:
        generation = read_stranger(value)
        assert generation is not None  # noqa: S101 (checked when it was restored)
        if int(generation["generation"][0]) == self.record.generation:
            return self.codec.unpack(value)
        return relaid(generation, self.spec)

    # --- session timers, in event time

    def _occupied(self) -> npt.NDArray[np.intp]:
        """The users' rows, in the order of ``slots``."""
        return np.fromiter(self.slots.values(), np.intp, len(self.slots))

    def _set_timers(self, names: Sequence[bytes], rows: npt.NDArray[np.intp]) -> None:
        """For all users with an open session, of these users and their rows."""
        column = self.columns
        opened = np.flatnonzero(column["session_open"][rows])
        due = column["last_event_ms"][rows[opened]] + self.spec.session_gap_ms
        offsets = column["last_offset"][rows[opened]]
        order = np.lexsort((offsets, due))
        names = [names[place] for place in opened[order].tolist()]
        numbers = range(self._timers_set + 1, self._timers_set + 1 + len(names))
        # What is in order is a heap.
        self._timers = list(
            zip(due[order].tolist(), offsets[order].tolist(), numbers, names, strict=True)
        )
        self._timer_of = dict(zip(names, numbers, strict=True))
        self._timers_set += len(names)

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
        written = {key for key, _ in pairs} if self._gone_blocks else set()
        changes += [(key, None) for key in dict.fromkeys(self._gone_blocks) if key not in written]
        self._gone_blocks = []
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
        if self._blocks:  # nobody has answered since they were restored
            blocks = sorted(self._blocks.items())
            yield self._sealed((_block_key(*place), scores) for place, scores in blocks)
        else:
            for number, reservoir in enumerate(self.reservoirs.values()):
                yield self._sealed(_blocks(number, reservoir.records()))
        for pairs in self.transitions.records(count):
            yield self._sealed([(_TRANSITION + key, value) for key, value in pairs])
        yield self._sealed([(_PARTITION, msgspec.msgpack.encode(self.record))])

    def _sealed(self, pairs: Iterable[tuple[bytes, bytes]]) -> list[Change]:
        return [(key, self._seal(key, value)) for key, value in pairs]

    def restore(self, records: Iterable[Change]) -> None:
        """Apply changelog records in their order; StateError for a foreign format or model."""
        opened = iter(records) if self._open is unsealed else self._opened(records)
        while chunk := list(islice(opened, _CHUNK_RECORDS)):
            # A user's record touches that user alone: they can wait for the chunk's end, and only
            # the last one of each user counts.
            users: dict[bytes, bytes | None] = {}
            for key, value in chunk:
                if len(key) == _USER_KEY_BYTES and key.startswith(_USER):
                    users[key] = value
                else:
                    _readably(self._restore, key, value)
            self._restore_users(users)

    def _opened(self, records: Iterable[Change]) -> Iterator[Change]:
        for key, sealed in records:
            yield key, None if sealed is None else self._open(key, sealed)

    def _restore(self, key: bytes, value: bytes | None) -> None:
        kind, name = key[:1], key[1:]
        if key == _PARTITION and value is not None:
            self._restore_record(value)
        elif kind == _BLOCK and len(name) == 3 and name[0] < len(ALERT_KINDS):
            self._restore_block(name[0], int.from_bytes(name[1:], "big"), value)
        elif kind == _TRANSITION and len(name) in (0, 4):
            self.transitions.restore(name, value)
        else:
            raise StateError(
                f"changelog key {key[:8]!r} is not ClickAhead's. The topic belongs to another "
                "program: choose another worker.app_id."
            )

    def recovered(self) -> None:
        """Call once after the last ``restore``: timers and orders follow from the rows."""
        names, rows = list(self.slots), self._occupied()
        self._settle_generations(rows)
        order = np.argsort(self.columns["last_offset"][rows], kind="stable")
        moved = np.flatnonzero(order != np.arange(len(names)))
        # Nobody has to move of those in front of the first one who is out of place.
        first = int(moved[0]) if len(moved) else len(names)
        for place in order[first:].tolist():
            self.slots.move_to_end(names[place])
        self._set_timers(names, rows)
        self.transitions.order()
        self._dirty = {}

    def _restore_users(self, users: Mapping[bytes, bytes | None]) -> None:
        """Users' records by key. A restart is mostly this: rows go in together, as bytes."""
        rows, is_plain = self.codec.unpack_plain([value or b"" for value in users.values()])
        index = []
        for key in compress(users, is_plain):
            name = key[1:]
            row = self.slots.get(name)
            index.append(self._room_for(name) if row is None else row)
            self._strangers.pop(name, None)
            self.long_ids.pop(name, None)
        self.rows.view(rows.dtype)[np.array(index, np.intp)] = rows
        if len(index) < len(users):
            for (key, value), done in zip(users.items(), is_plain, strict=True):
                if not done:
                    _readably(self._restore_user, key, value)

    def _restore_user(self, key: bytes, value: bytes | None) -> None:
        pseudonym = key[1:]
        row = self.slots.get(pseudonym)
        if value is None:
            if row is not None:
                self.remove(pseudonym)
            return
        if row is None:
            row = self.add(pseudonym)
        self._strangers.pop(pseudonym, None)
        self.long_ids.pop(pseudonym, None)
        try:
            self.rows[row] = self.codec.unpack(value)[0]
        except StateError:
            # Another model's row: which one answers is known when the record has come.
            if read_stranger(value) is None:
                raise
            self._strangers[pseudonym] = value
        if tail := self.codec.tail(value):
            self.long_ids[pseudonym] = tail

    def _restore_record(self, value: bytes) -> None:
        self.record = msgspec.msgpack.decode(value, type=PartitionRecord)

    def _restore_block(self, number: int, block: int, value: bytes | None) -> None:
        if value is None:
            self._blocks.pop((number, block), None)
        elif len(value) % 4 == 0:
            self._blocks[number, block] = value
        else:
            raise StateError(f"a block of scores has {len(value)} bytes; 4 each are needed")


def _readably(
    apply: Callable[[bytes, bytes | None], None], key: bytes, value: bytes | None
) -> None:
    """Apply a record; StateError for whatever is wrong with it."""
    try:
        apply(key, value)
    except StateError:
        raise
    except (msgspec.MsgspecError, ValueError, LookupError) as error:
        raise StateError(f"changelog record {key[:8]!r} is unreadable: {error}") from error


def _block_key(number: int, block: int) -> bytes:
    """Key of a reservoir's block; ``number`` is its place among the kinds of alerts."""
    return _BLOCK + bytes([number]) + block.to_bytes(2, "big")


def _blocks(number: int, blocks: Iterable[tuple[int, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(_block_key(number, block), scores) for block, scores in blocks]
