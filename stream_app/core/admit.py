"""Pass 1, in offset order: what becomes of each record, and which session closes it makes due.

Owns what needs no model: duplicates, lateness, the watermark, sessions, room for new users. Stops
early where it would have to drop a user whose events of this batch are not played yet.
"""

from model.spec import Engine, item_hash
from stream_app.core import compiled
from stream_app.core.batch import BEFORE, EventBatch
from stream_app.core.calibration import mix
from stream_app.core.clean import Cleaned, Click, Heartbeat, Rejected
from stream_app.core.entries import (
    Entry,
    Eviction,
    Other,
    Refusal,
    SessionEnd,
    Step,
    StepAt,
    Steps,
)
from stream_app.core.features import DURATION_EDGES_MS, dwell_code
from stream_app.core.partition_record import VOCABULARY_HORIZON, VOCABULARY_MIN_EVENTS
from stream_app.core.pending import Pending
from stream_app.core.state import ID_HASH_BITS, NAMES_SESSION, STARTS_SESSION
from stream_app.core.store import PartitionStore
from stream_app.core.swap import Counted
from stream_app.core.timeline import Seen
from stream_app.core.timelines import Timelines

EXPIRY_BUCKET_MS = 3_600_000
_ID_HASH = (1 << ID_HASH_BITS) - 1


class Admission:
    """Pass 1 over a part of a batch; ``steps`` and ``others`` are its result."""

    def __init__(
        self, batch: EventBatch, cleaned: list[Cleaned], store: PartitionStore, engine: Engine
    ) -> None:
        self.batch, self.store = batch, store
        self.others: list[tuple[int, Other]] = []  # with the number of steps before each
        self.steps = Steps()
        self.duplicates = self.heartbeats = 0
        self._cleaned = cleaned
        self._vocabulary, self._spec = engine.vocabulary, engine.spec
        self._action_codes = {name: code for code, name in enumerate(engine.spec.actions)}
        self.pending = Pending(store, self.steps)
        self.late = Timelines(store, self.steps, self.pending)
        self.stale: dict[int, Counted] = {}  # rows to rebuild before the steps of this pass

    @property
    def entries(self) -> list[Entry]:
        """All that happened, in order."""
        found: list[Entry] = []
        done = 0
        for number, other in self.others:
            found += map(StepAt, range(done, number))
            found.append(other)
            done = number
        return [*found, *map(StepAt, range(done, len(self.steps)))]

    def run(self, start: int) -> int:
        """Admit records from ``start`` on; the index of the first one left for the next pass."""
        i = self._skip(start)
        while i < len(self._cleaned) and self._admit(i):
            i = self._skip(i + 1)
        self.store.steps_total += len(self.steps)
        return i

    def _skip(self, i: int) -> int:
        """Admit in C what it is made for, from record ``i`` on; the first one that it is not."""
        if compiled.passes is None or self.store.stale_users:
            return i
        return compiled.passes.admit(
            self,
            i,
            (Click, SessionEnd),
            DURATION_EDGES_MS,
            EXPIRY_BUCKET_MS,
            VOCABULARY_HORIZON,
            VOCABULARY_MIN_EVENTS,
        )

    def _admit(self, i: int) -> bool:
        cleaned = self._cleaned[i]
        if isinstance(cleaned, Rejected):
            self._tell(Refusal(i, cleaned))
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
            if row is not None and self.late.has_seen(row, id_hash):
                self.duplicates += 1
                return True
        refused = self.late.refused(row, click.at_ms)
        if refused is not None:
            self._tell(Refusal(i, refused))
            return True
        if not self._advance_watermark(i, click.at_ms):
            return False
        row = store.slots.get(pseudonym)  # the watermark may have expired the user
        if row is None:
            if store.is_full():
                victim = store.oldest()
                if self.pending.is_touched(store.slots[victim]):
                    return False
                self._evict(i, victim)
            row = store.add(pseudonym)
        self._step(i, click, pseudonym, row, id_hash)
        return True

    def _tell(self, other: Other) -> None:
        self.others.append((len(self.steps), other))

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
        if any(self.pending.is_touched(store.slots[pseudonym]) for pseudonym in idle):
            return False
        for pseudonym in idle:
            self._evict(i, pseudonym)
        record.expiry_bucket = bucket
        return True

    def _end_session(self, i: int, pseudonym: bytes, row: int, at_ms: int) -> None:
        self._tell(self._session_end(i, pseudonym, row, at_ms))
        self.store.columns["session_open"][row] = 0
        self.store.mark(pseudonym)
        self.pending.ended.add(row)

    def _session_end(self, i: int, pseudonym: bytes, row: int, at_ms: int) -> SessionEnd:
        store, column = self.store, self.store.columns
        newest = self.pending.newest(row)
        return SessionEnd(
            i,
            pseudonym,
            row,
            at_ms,
            int(column["last_offset"][row]),
            int(column["session_events"][row]),
            newest,
            float(column["close_surprise"][row]),
            column["expected_action"][row].tobytes()
            + column["expected_action_logp"][row].tobytes(),
            store.record.out_of_vocabulary or (newest < 0 and store.is_stale(row)),
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
        self._tell(Eviction(i, pseudonym, at_ms, offset, alert, session))
        self.late.forget(row)
        store.remove(pseudonym)

    def _step(self, i: int, click: Click, pseudonym: bytes, row: int, id_hash: int) -> None:
        store, column = self.store, self.store.columns
        if store.stale_users and self.pending.newest(row) < 0 and store.is_stale(row):
            counts = int(column["events_total"][row]), int(column["session_events"][row])
            self.stale[row] = Counted(*counts)
        last_ms, is_first = int(column["last_event_ms"][row]), not column["events_total"][row]
        session_hash = 0 if click.session_id is None else store.event_hash(click.session_id)
        item = 0 if click.item_id is None else item_hash(click.item_id)
        if click.at_ms < last_ms and not is_first:
            late = Seen(click.at_ms, id_hash, item, False, click.session_id is not None)
            starts, gap_ms, source = self.late.put(row, late, session_hash)
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
        if starts and self._spec.reset_at_session:
            gap_ms = -1
        step = self._booked(i, click, pseudonym, row, id_hash, item, starts, gap_ms, source)
        if click.at_ms >= last_ms:
            self.late.append(row, step)

    def _booked(
        self,
        i: int,
        click: Click,
        pseudonym: bytes,
        row: int,
        id_hash: int,
        item: int,
        starts: bool,
        gap_ms: int,
        source: int,
    ) -> Step:
        store, column, k = self.store, self.store.columns, len(self.steps)
        before, code = self.pending.newest(row), self._vocabulary.code(click.item_id)
        mark = self._action_codes.get(click.action, 1) | starts * STARTS_SESSION
        dwell_ms = -1 if click.dwell_ms is None else click.dwell_ms
        if click.item_id is not None:
            store.record.see_item(code < self._spec.item_count)
        step = Step(
            at_ms=click.at_ms,
            gap_ms=gap_ms,
            position=int(column["session_events"][row]),
            total=int(column["events_total"][row]),
            row=row,
            round=0 if before < 0 else self.steps[before].round + 1,
            batch_row=i,
            before=before,
            offset=self.batch.offsets[i],
            id_hash=id_hash,
            item=code,
            item_hash=item,
            source_item=source,
            dwell_ms=dwell_ms,
            mark=mark | (click.session_id is not None) * NAMES_SESSION,
            dwell=dwell_code(dwell_ms),
            starts=starts,
            fallback=store.record.out_of_vocabulary,
            pseudonym=pseudonym,
        )
        self.steps.add(step, click)
        self.pending.add(row, k)
        store.touch(pseudonym)
        store.set_timer(row)
        return step

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
