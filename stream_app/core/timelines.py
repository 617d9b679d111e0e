"""Pass 1 for what comes late: whether it may still come, and where it goes."""

from stream_app.core.clean import Rejected
from stream_app.core.entries import Late, Step, Steps
from stream_app.core.pending import Pending
from stream_app.core.store import PartitionStore
from stream_app.core.timeline import Seen, Session, Timeline, seen, timeline


class Timelines:
    """The timelines of one pass, of the rows that something came late for."""

    def __init__(self, store: PartitionStore, steps: Steps, pending: Pending) -> None:
        self.by_row: dict[int, Timeline] = {}
        self._store, self._steps, self._pending = store, steps, pending

    def has_seen(self, row: int, id_hash: int) -> bool:
        """Whether the ring, as it is after this pass's steps, holds the event id."""
        if row in self.by_row:
            return self.by_row[row].holds(id_hash)
        return self._pending.has_seen(row, id_hash)

    def append(self, row: int, step: Step) -> None:
        """Have it known of a step that is not late."""
        if row in self.by_row:
            self.by_row[row].append(seen(step))

    def forget(self, row: int) -> None:
        self.by_row.pop(row, None)

    def refused(self, row: int | None, at_ms: int) -> Rejected | None:
        """Why an event comes too late, None where it does not."""
        allowed = self._store.config.allowed_lateness_ms
        behind = self._store.record.watermark_ms - at_ms
        if behind > allowed:
            return Rejected("late", f"{behind} ms behind the partition; at most {allowed}")
        if row is None or at_ms >= int(self._store.columns["last_event_ms"][row]):
            return None
        held = self._of(row)
        if held.is_full and at_ms < held.oldest_ms:
            return Rejected("late", "older than everything that is kept of the user")
        return None

    def put(self, row: int, late: Seen, session_hash: int) -> tuple[bool, int, int]:
        """Put an event in behind the user's newest one: whether it starts a session, the time since
        the event before it, and the item before it in its session. Opens and closes nothing."""
        column, steps = self._store.columns, self._steps
        names = ("session_hash", "session_started_ms", "session_events", "last_item")
        held = Session(*(int(column[name][row]) for name in names))
        gap_ms = self._store.spec.session_gap_ms
        placed = self._of(row).place(late, session_hash, held, gap_ms)
        for name, value in zip(names, placed.session, strict=True):
            column[name][row] = value
        column["sessions_total"][row] = int(column["sessions_total"][row]) + placed.begun
        pending = self._pending.of(row)
        newest = next((k for k in reversed(pending) if k not in steps.late), -1)
        steps.late[len(steps)] = Late(
            next_starts=placed.next_starts,
            newest=newest,
            newest_ms=int(column["last_event_ms"][row]),
            newest_item=placed.session.last_item,
            corrections=1 + sum(k > newest for k in pending),
        )
        return placed.starts, placed.gap_ms, placed.source_item

    def _of(self, row: int) -> Timeline:
        if row not in self.by_row:
            added = [self._steps[k] for k in self._pending.of(row)]
            self.by_row[row] = timeline(self._store.rows[row : row + 1], added)
        return self.by_row[row]
