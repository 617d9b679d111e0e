"""Pass 1, in offset order: what becomes of each record, and which session closes it makes due.

Owns what needs no model: duplicates, lateness, the watermark, sessions, room for new users. Stops
early where it would have to drop a user whose events of this batch are not played yet.
"""

import numpy as np

from model.spec import Engine, item_hash
from stream_app.core import compiled
from stream_app.core.batch import BEFORE, EventBatch
from stream_app.core.calibration import mix
from stream_app.core.clean import Cleaned, Click, Heartbeat, Rejected
from stream_app.core.entries import (
    Entry,
    Eviction,
    Expectation,
    Late,
    Refusal,
    SessionEnd,
    StepAt,
    Steps,
)
from stream_app.core.partition_record import VOCABULARY_HORIZON, VOCABULARY_MIN_EVENTS
from stream_app.core.state import ID_HASH_BITS, ID_HIGH_HASH
from stream_app.core.store import PartitionStore
from stream_app.core.swap import Counted
from stream_app.core.timeline import Seen, Session, Timeline, seen, timeline

EXPIRY_BUCKET_MS = 3_600_000
_LOW_32, _ID_HASH = (1 << 32) - 1, (1 << ID_HASH_BITS) - 1


class Admission:
    """Pass 1 over a part of a batch; ``entries`` and ``steps`` are its result."""

    def __init__(
        self, batch: EventBatch, cleaned: list[Cleaned], store: PartitionStore, engine: Engine
    ) -> None:
        self.batch, self.store = batch, store
        self.entries: list[Entry] = []
        self.steps = Steps()
        self.duplicates = self.heartbeats = 0
        self._cleaned = cleaned
        self._vocabulary, self._spec = engine.vocabulary, engine.spec
        self._action_codes = {name: code for code, name in enumerate(engine.spec.actions)}
        self._pending: dict[int, list[int]] = {}  # row -> its steps of this pass
        self._timelines: dict[int, Timeline] = {}  # rows that something came late for
        self.stale: dict[int, Counted] = {}  # rows to rebuild before the steps of this pass
        self._touched: set[int] = set()  # rows that entries of this pass refer to

    def run(self, start: int) -> int:
        """Admit records from ``start`` on; the index of the first one left for the next pass."""
        i = self._skip(start)
        while i < len(self._cleaned):
            if not self._admit(i):
                return i
            i = self._skip(i + 1)
        return i

    def _skip(self, i: int) -> int:
        """Admit in C what it is made for, from record ``i`` on; the first one that it is not."""
        if compiled.passes is None or self.store.stale_users:
            return i
        return compiled.passes.admit(
            self,
            i,
            (Click, StepAt, SessionEnd, Expectation),
            EXPIRY_BUCKET_MS,
            VOCABULARY_HORIZON,
            VOCABULARY_MIN_EVENTS,
        )

    def _admit(self, i: int) -> bool:
        cleaned = self._cleaned[i]
        if isinstance(cleaned, Rejected):
            self.entries.append(Refusal(i, cleaned))
            return True
        if isinstance(cleaned, Heartbeat):
            if not self._advance_watermark(i, cleaned.at_ms):
                return False
            self.heartbeats += 1
            return True
        return self._admit_click(i, cleaned)

    def _admit_click(self, i: int, click: Click) -> bool:
        store = self.store
        pseudonym = store.pseudonym(click.user_id)
        row = store.slots.get(pseudonym)
        if click.event_id is None:
            id_hash = mix(self.batch.offsets[i]) & _ID_HASH
        else:
            id_hash = store.event_hash(click.event_id) & _ID_HASH
            if row is not None and self._has_seen(row, id_hash):
                self.duplicates += 1
                return True
        late = self._lateness(row, click.at_ms)
        if late is not None:
            self.entries.append(Refusal(i, late))
            return True
        if not self._advance_watermark(i, click.at_ms):
            return False
        row = store.slots.get(pseudonym)  # the watermark may have expired the user
        if row is None:
            if store.is_full():
                victim = store.oldest()
                if store.slots[victim] in self._touched:
                    return False
                self._evict(i, victim)
            row = store.add(pseudonym)
        self._step(i, click, pseudonym, row, id_hash)
        return True

    def _has_seen(self, row: int, id_hash: int) -> bool:
        """Whether the ring, as it is after the steps of this pass, holds the event id."""
        store, length = self.store, self._spec.ring_length
        if row in self._timelines:
            return self._timelines[row].holds(id_hash)
        pending = self._pending.get(row, [])
        if any(self.steps.id_hash[k] == id_hash for k in pending[-length:]):
            return True
        ring = store.columns["ring"][row]
        filled = int(store.columns["used"][row])
        for place in np.flatnonzero(ring["id_low"][:filled] == id_hash & _LOW_32).tolist():
            high = int(ring["id_high"][place]) & ID_HIGH_HASH
            if high == id_hash >> 32 and self._survives(row, place):
                return True
        return False

    def _survives(self, row: int, place: int) -> bool:
        """Whether the steps of this pass leave a place of the ring as it is."""
        start = int(self.store.columns["next"][row])
        return (place - start) % self._spec.ring_length >= len(self._pending.get(row, []))

    def _lateness(self, row: int | None, at_ms: int) -> Rejected | None:
        allowed = self.store.config.allowed_lateness_ms
        behind = self.store.record.watermark_ms - at_ms
        if behind > allowed:
            return Rejected("late", f"{behind} ms behind the partition; at most {allowed}")
        if row is None or at_ms >= int(self.store.columns["last_event_ms"][row]):
            return None
        timeline = self._timeline(row)
        if timeline.is_full and at_ms < timeline.oldest_ms:
            return Rejected("late", "older than everything that is kept of the user")
        return None

    def _timeline(self, row: int) -> Timeline:
        if row not in self._timelines:
            added = self._pending.get(row, [])
            self._timelines[row] = timeline(self.store.rows[row : row + 1], self.steps, added)
        return self._timelines[row]

    def _advance_watermark(self, i: int, at_ms: int) -> bool:
        """Move the watermark, close what is due, expire who is idle; False: cut here."""
        store, record = self.store, self.store.record
        if at_ms > record.watermark_ms:
            record.watermark_ms = at_ms
            while (due := store.pop_due(at_ms)) is not None:
                deadline_ms, pseudonym, row = due
                self._end_session(i, pseudonym, row, deadline_ms)
        bucket = record.watermark_ms // EXPIRY_BUCKET_MS
        if bucket == record.expiry_bucket:
            return True
        idle = store.idle_since(record.watermark_ms - store.config.user_ttl_ms)
        if any(store.slots[pseudonym] in self._touched for pseudonym in idle):
            return False
        for pseudonym in idle:
            self._evict(i, pseudonym)
        record.expiry_bucket = bucket
        return True

    def _end_session(self, i: int, pseudonym: bytes, row: int, at_ms: int) -> None:
        self.entries.append(self._session_end(i, pseudonym, row, at_ms))
        self.store.columns["session_open"][row] = 0
        self.store.mark(pseudonym)
        self._touched.add(row)

    def _session_end(self, i: int, pseudonym: bytes, row: int, at_ms: int) -> SessionEnd:
        store, column = self.store, self.store.columns
        pending = self._pending.get(row)
        return SessionEnd(
            i,
            pseudonym,
            row,
            at_ms,
            int(column["last_offset"][row]),
            int(column["session_events"][row]),
            pending[-1] if pending else -1,
            float(column["close_surprise"][row]),
            Expectation(
                column["expected_action"][row].tolist(),
                column["expected_action_logp"][row].tolist(),
            ),
            store.record.out_of_vocabulary or (pending is None and store.is_stale(row)),
        )

    def erase(self, pseudonym: bytes) -> bool:
        """Drop a user before the first record, as eviction does; whether there was one."""
        if pseudonym not in self.store.slots:
            return False
        self._evict(BEFORE, pseudonym)
        return True

    def _evict(self, i: int, pseudonym: bytes) -> None:
        """Drop a user whom no entry of this pass refers to."""
        store, row = self.store, self.store.slots[pseudonym]
        at_ms = store.record.watermark_ms
        is_open = bool(store.columns["session_open"][row])
        session = self._session_end(i, pseudonym, row, at_ms) if is_open else None
        offset = int(store.columns["last_offset"][row])
        alert = store.alert(row)
        self.entries.append(Eviction(i, pseudonym, at_ms, offset, alert, session))
        self._timelines.pop(row, None)
        store.remove(pseudonym)

    def _step(self, i: int, click: Click, pseudonym: bytes, row: int, id_hash: int) -> None:
        store, column, steps = self.store, self.store.columns, self.steps
        if store.stale_users and row not in self._pending and store.is_stale(row):
            counts = int(column["events_total"][row]), int(column["session_events"][row])
            self.stale[row] = Counted(*counts)
        last_ms, is_first = int(column["last_event_ms"][row]), not column["events_total"][row]
        session_hash = 0 if click.session_id is None else store.event_hash(click.session_id)
        item = 0 if click.item_id is None else item_hash(click.item_id)
        if click.at_ms < last_ms and not is_first:
            late = Seen(click.at_ms, id_hash, item, False, click.session_id is not None)
            starts, gap_ms, source = self._put_late(row, late, session_hash)
        else:
            starts = is_first or self._starts_session(row, click.at_ms, last_ms, session_hash)
            gap_ms = -1 if is_first else click.at_ms - last_ms
            if starts:
                self._start_session(i, click.at_ms, pseudonym, row, session_hash)
            elif gap_ms >= self._spec.session_gap_ms:
                column["session_open"][row] = 1  # one by id goes on behind its announced end
            source = int(column["last_item"][row])
            column["last_event_ms"][row] = click.at_ms
            column["session_events"][row] += 1
            if item:
                column["last_item"][row] = item
        column["last_offset"][row] = self.batch.offsets[i]
        column["events_total"][row] += 1
        steps.starts.append(starts)
        steps.gap_ms.append(-1 if starts and self._spec.reset_at_session else gap_ms)
        steps.source_item.append(source)
        self._book(i, click, pseudonym, row, id_hash, item)
        if row in self._timelines and click.at_ms >= last_ms:
            self._timelines[row].append(seen(steps, len(steps.row) - 1))

    def _book(
        self, i: int, click: Click, pseudonym: bytes, row: int, id_hash: int, item: int
    ) -> None:
        store, column, steps = self.store, self.store.columns, self.steps
        pending = self._pending.setdefault(row, [])
        steps.round.append(len(pending))
        pending.append(len(steps.row))
        self.entries.append(StepAt(len(steps.row)))
        steps.batch_row.append(i)
        steps.row.append(row)
        steps.at_ms.append(click.at_ms)
        steps.dwell_ms.append(-1 if click.dwell_ms is None else click.dwell_ms)
        steps.position.append(int(column["session_events"][row]))
        steps.total.append(int(column["events_total"][row]))
        steps.item.append(self._vocabulary.code(click.item_id))
        steps.action.append(self._action_codes.get(click.action, 1))
        steps.item_hash.append(item)
        steps.id_hash.append(id_hash)
        if click.item_id is not None:
            store.record.see_item(steps.item[-1] < self._spec.item_count)
        steps.fallback.append(store.record.out_of_vocabulary)
        steps.click.append(click)
        steps.pseudonym.append(pseudonym)
        self._touched.add(row)
        store.touch(pseudonym)
        store.set_timer(row)

    def _put_late(self, row: int, late: Seen, session_hash: int) -> tuple[bool, int, int]:
        """Put an event in behind the user's newest one: whether it starts a session, the time since
        the event before it, and the item before it in its session. Opens and closes nothing."""
        column, steps = self.store.columns, self.steps
        names = ("session_hash", "session_started_ms", "session_events", "last_item")
        held = Session(*(int(column[name][row]) for name in names))
        placed = self._timeline(row).place(late, session_hash, held, self._spec.session_gap_ms)
        for name, value in zip(names, placed.session, strict=True):
            column[name][row] = value
        column["sessions_total"][row] = int(column["sessions_total"][row]) + placed.begun
        pending = self._pending.get(row, [])
        newest = next((k for k in reversed(pending) if k not in steps.late), -1)
        steps.late[len(steps.row)] = Late(
            next_starts=placed.next_starts,
            newest=newest,
            newest_ms=int(column["last_event_ms"][row]),
            newest_item=placed.session.last_item,
            corrections=1 + sum(k > newest for k in pending),
        )
        return placed.starts, placed.gap_ms, placed.source_item

    def _starts_session(self, row: int, at_ms: int, last_ms: int, session_hash: int) -> bool:
        """Whether an event that is not late is the first of its session."""
        if session_hash:
            return session_hash != int(self.store.columns["session_hash"][row])
        return at_ms - last_ms >= self._spec.session_gap_ms

    def _start_session(
        self, i: int, at_ms: int, pseudonym: bytes, row: int, session_hash: int
    ) -> None:
        column = self.store.columns
        if column["session_open"][row]:
            self._end_session(i, pseudonym, row, at_ms)
        column["session_open"][row] = 1
        column["session_hash"][row] = session_hash
        column["session_started_ms"][row] = at_ms
        column["session_events"][row] = 0
        column["sessions_total"][row] += 1
        column["last_item"][row] = 0
