"""The state of one partition: the only copy, columnar in memory, packed at its changelog edge.

All that an output depends on is in here and in the changelog: users, the expected offset, the
watermark, calibration reservoirs, learned transitions. Timers and the order of eviction follow from
the users' rows, so they are rebuilt instead of stored.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec
import numpy as np

from model.spec import Engine
from stream_app.core import features
from stream_app.core.alert_reservoirs import AlertReservoirs
from stream_app.core.changelog import (
    BLOCK,
    TRANSITION,
    USER,
    USER_KEY_BYTES,
    Change,
    Seal,
    foreign,
    readably,
    unsealed,
)
from stream_app.core.clean import reader
from stream_app.core.compiled import keyed
from stream_app.core.config import CoreConfig
from stream_app.core.events import ALERT_KINDS, OUTCOMES
from stream_app.core.generations import MEMORY_FIELDS, KnownModel, succession
from stream_app.core.partition_record import PARTITION_KEY, PartitionRecord
from stream_app.core.privacy import event_hasher, pseudonymiser
from stream_app.core.reading import batch_reader
from stream_app.core.recall import LiveRecall
from stream_app.core.restored_users import restore_users, settle
from stream_app.core.session_timers import Due, SessionTimers
from stream_app.core.shadow import Shadow
from stream_app.core.transitions import Transitions
from stream_app.core.user_table import UserTable

_CHUNK_RECORDS = 1024


class PartitionStore(UserTable):
    """A partition's users, and all else that its outputs depend on, under one model."""

    def __init__(
        self,
        partition: int,
        engine: Engine,
        config: CoreConfig,
        seal: Seal = unsealed,
        open_: Seal = unsealed,
    ) -> None:
        features.check(engine.spec)
        record = PartitionRecord(
            model=engine.version,
            fingerprint=engine.fingerprint,
            actions=engine.spec.actions,
            live=engine.version,
            models={0: KnownModel.of(engine)},
            outcomes=dict.fromkeys(OUTCOMES, 0),
        )
        super().__init__(engine, record)
        self.partition = partition
        self.config = config
        self.read = reader(config)
        self.read_all = batch_reader(config, self.read)
        self.pseudonym = pseudonymiser(config.pseudonym_key)
        self.event_hash = event_hasher(config.pseudonym_key)
        self.keyed = keyed(config.pseudonym_key)
        self.transitions = Transitions(config.max_transitions)
        self.shadow: Shadow | None = None  # feeds metrics only, as does recall
        self.recall = LiveRecall()
        self._calibration = AlertReservoirs(engine, config.reservoir_size)
        self.reservoirs = self._calibration.by_kind
        self._timers = SessionTimers()
        self._serving, self._own = engine.version, KnownModel.of(engine)
        self._seal, self._open = seal, open_

    @property
    def next_offset(self) -> int:
        return self.record.next_offset

    @property
    def watermark_ms(self) -> int:
        """Largest accepted event time, -1 before the first."""
        return self.record.watermark_ms

    def is_full(self) -> bool:
        return len(self.slots) >= self.config.max_users_per_partition

    def remove(self, pseudonym: bytes) -> None:
        self._timers.cancel(self.slots[pseudonym])
        super().remove(pseudonym)

    # --- session timers, in event time

    def set_timer(self, row: int) -> None:
        """Have the session closed once the watermark passes its last event by the session gap."""
        if row not in self._timers:
            self._timers.set(row, self._due(row))

    def pop_due(self, watermark_ms: int) -> tuple[int, bytes, int] | None:
        """(deadline, pseudonym, row) of the first session that is due, or None.

        A user has one timer, set when a session opens; it moves on when it fires early. So events
        cost nothing here, and sessions still come in the order of their true deadlines.
        """
        while (popped := self._timers.pop(watermark_ms)) is not None:
            row, expected = popped
            if not self.columns["session_open"][row]:
                continue
            due = self._due(row)
            if due == expected:
                return due[0], self.slots.name_of(row), row
            self._timers.set(row, due)
        return None

    def _due(self, row: int) -> Due:
        last_ms, offset = self.columns["last_event_ms"][row], self.columns["last_offset"][row]
        return int(last_ms) + self.spec.session_gap_ms, int(offset)

    def _set_timers(self) -> None:
        """For all users with an open session."""
        column = self.columns
        rows = np.flatnonzero((column["session_open"] > 0) & (column["sessions_total"] > 0))
        due_ms = column["last_event_ms"][rows] + self.spec.session_gap_ms
        self._timers.set_all(due_ms, column["last_offset"][rows], rows)

    # --- the models that answer

    def serve(self, engine: Engine) -> None:
        """Go on under the model that the record names; what follows from it alone is rebuilt."""
        if engine.version == self._serving:
            return
        self._bind(engine)
        self._calibration.serve(engine)

    def swap(self, engine: Engine) -> None:
        """Let another model answer from the next batch on. Rows of the one before wait for their
        user's next event; verdicts start from the calibration that the new model ships."""
        features.check(engine.spec)
        record, column = self.record, self.columns
        live = column["sessions_total"] > 0
        held = frozenset(np.unique(column["generation"][live]).tolist())
        number, models = succession(record.models, record.generation, held, engine)
        if number in held:
            self.move_generation(number)
        record.model, record.fingerprint = engine.version, engine.fingerprint
        record.actions, record.generation, record.models = engine.spec.actions, number, models
        record.known_items = record.unknown_items = 0
        record.out_of_vocabulary = record.said_out_of_vocabulary = False
        self.stale_users = len(self.slots)
        has_other_gap = self.spec.session_gap_ms != engine.spec.session_gap_ms
        self.lay_out(engine.spec)
        for name in MEMORY_FIELDS:
            self.columns[name][:] = 0
        self._bind(engine)
        self._calibration.swap(engine)
        if has_other_gap:
            self._set_timers()

    def watch_by(self, shadow: Engine | None, live: Engine) -> None:
        """Have a model watched beside the live one, from the next pass on; None: no model."""
        if shadow is None:
            self.shadow = None
            return
        held = self.shadow
        if held is None or (held.version, held.live_version) != (shadow.version, live.version):
            self.shadow = Shadow(shadow, live)

    def _bind(self, engine: Engine) -> None:
        features.check(engine.spec)
        self.spec, self._serving, self.recall = engine.spec, engine.version, LiveRecall()
        self._initial = engine.initial(1)

    # --- the changelog's edge

    def take_changes(self) -> list[Change]:
        """Records (key, value or tombstone) of all that changed since the last call, the partition
        record last: whoever finds it has everything before it."""
        gone, pairs = self.changed_users()
        blocks, gone_blocks = self._calibration.take_changes()
        pairs += blocks
        gone += gone_blocks
        for key, value in self.transitions.take_changes():
            if value is None:
                gone.append(TRANSITION + key)
            else:
                pairs.append((TRANSITION + key, value))
        self.record.calibration = self._calibration.counts()
        pairs.append((PARTITION_KEY, msgspec.msgpack.encode(self.record)))
        self.changed = {}
        return [*((key, None) for key in gone), *self._sealed(pairs)]

    def records(self, count: int) -> Iterator[list[Change]]:
        """The whole state as records of the changelog, in slices of about ``count``.

        Batches may be played between two slices. Then a slice holds what was true when it was
        taken, and only with all later changes applied on top the records make one state.
        """
        first = 0
        while first < len(self.rows):
            yield self._sealed(self.users_records(self.slots.names(first, first + count)))
            first += count
        yield self._sealed(self._calibration.records())
        for pairs in self.transitions.records(count):
            yield self._sealed([(TRANSITION + key, value) for key, value in pairs])
        yield self._sealed([(PARTITION_KEY, msgspec.msgpack.encode(self.record))])

    def _sealed(self, pairs: Iterable[tuple[bytes, bytes]]) -> list[Change]:
        if self._seal is unsealed:
            return [*pairs]
        return [(key, self._seal(key, value)) for key, value in pairs]

    def restore(self, records: Iterable[Change]) -> None:
        """Apply changelog records in their order; StateError for a foreign format or model."""
        opened = iter(records) if self._open is unsealed else self._opened(records)
        while chunk := list(islice(opened, _CHUNK_RECORDS)):
            # A user's record touches that user alone: they can wait for the chunk's end, and only
            # the last one of each user counts.
            users: dict[bytes, bytes | None] = {}
            for key, value in chunk:
                if len(key) == USER_KEY_BYTES and key.startswith(USER):
                    users[key] = value
                else:
                    readably(self._restore, key, value)
            restore_users(self, users)

    def _opened(self, records: Iterable[Change]) -> Iterator[Change]:
        for key, sealed in records:
            yield key, None if sealed is None else self._open(key, sealed)

    def _restore(self, key: bytes, value: bytes | None) -> None:
        kind, name = key[:1], key[1:]
        if key == PARTITION_KEY and value is not None:
            self.record = msgspec.msgpack.decode(value, type=PartitionRecord)
        elif kind == BLOCK and len(name) == 3 and name[0] < len(ALERT_KINDS):
            self._calibration.restore(name[0], int.from_bytes(name[1:], "big"), value)
        elif kind == TRANSITION and len(name) in (0, 4):
            self.transitions.restore(name, value)
        else:
            raise foreign(key)

    def recovered(self) -> None:
        """Call once after the last ``restore``: timers and orders follow from the rows."""
        settle(self, self._own)
        if self.record.models[self.record.generation].version == self._serving:
            self._calibration.fill()
        self.order()
        self._set_timers()
        self.transitions.order()
        self.changed = {}
