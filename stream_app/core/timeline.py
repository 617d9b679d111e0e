"""A user's last events in event-time order, as pass 1 needs them once one comes late: what the ring
holds and what this pass has added, with the starts of sessions told anew around the late one.

Sessions by gap come out as if every event had come in time; only where one is found to go on from
an earlier session whose start the ring no longer holds, it is told from the oldest event there. So
do sessions by id where the late event belongs to the session at hand, or lies in it or right before
it; the ids of earlier sessions are not kept, and there it joins the session that it lies in.
Announced ends of sessions stay.
"""

from bisect import bisect_right
from operator import attrgetter
from typing import NamedTuple

import msgspec
import numpy as np

from stream_app.core.entries import Step
from stream_app.core.state import ID_HIGH_HASH, NAMES_SESSION, STARTS_SESSION, Rows
from stream_app.core.window import by_rank, times_ms

_time = attrgetter("at_ms")


class Seen(msgspec.Struct):
    """What pass 1 remembers of an event."""

    at_ms: int
    id_hash: int
    item: int  # hash, 0: none
    starts: bool  # first of its session
    is_named: bool  # it came with a session id


class Session(NamedTuple):
    """What a user's row says of the session at hand."""

    hash: int
    started_ms: int
    events: int
    last_item: int


class Placed(NamedTuple):
    """A late event at its place, and what it changed."""

    starts: bool
    next_starts: bool  # the event behind it
    gap_ms: int  # to the event before it, -1: none
    source_item: int  # item hash of its session's newest item before it, 0: none
    begun: int  # sessions more (or fewer) than before
    session: Session  # at hand


class Timeline:
    """Up to ``length`` events, oldest first."""

    def __init__(self, events: list[Seen], length: int) -> None:
        self._events, self._length = events[-length:], length

    @property
    def is_full(self) -> bool:
        return len(self._events) == self._length

    @property
    def oldest_ms(self) -> int:
        return self._events[0].at_ms

    def holds(self, id_hash: int) -> bool:
        return any(event.id_hash == id_hash for event in self._events)

    def append(self, event: Seen) -> None:
        """Add an event that is not late."""
        self._events.append(event)
        del self._events[: -self._length]

    def place(self, late: Seen, named: int, session: Session, gap_ms: int) -> Placed:
        """Put a late event in. ``named`` is its session's hash, 0 where it came without one;
        ``session`` is the one at hand; sessions without a name end after ``gap_ms``."""
        events = self._events
        at = bisect_right(events, late.at_ms, key=_time)
        behind, later_starts = events[at], sum(event.starts for event in events[at:])
        pause_ms = late.at_ms - events[at - 1].at_ms if at else -1
        began = behind.starts
        if at == 0:
            late.starts = True
        elif named and later_starts == 0:
            late.starts = named != session.hash
        elif named == session.hash != 0 and later_starts == began:
            late.starts = True  # the session's first event, overtaken by its second
        else:
            late.starts = pause_ms >= gap_ms
        if not behind.is_named:
            behind.starts = behind.at_ms - late.at_ms >= gap_ms
        elif late.starts and later_starts == began:
            behind.starts = named != session.hash
        source = 0 if late.starts else self._newest_item(at - 1, 0)
        events.insert(at, late)
        del events[: -self._length]
        begun = late.starts + behind.starts - began
        at_hand = self._at_hand(late, named, session)
        return Placed(late.starts, behind.starts, pause_ms, source, begun, at_hand)

    def _at_hand(self, late: Seen, named: int, before: Session) -> Session:
        """The session of the newest event, counted anew where the timeline holds its start."""
        events, last_item = self._events, self._newest_item(len(self._events) - 1, before.last_item)
        start = next((n for n in range(len(events) - 1, -1, -1) if events[n].starts), None)
        if start is None:
            started_ms = min(before.started_ms, self.oldest_ms)
            count = max(before.events + 1, len(events))
            return Session(before.hash, started_ms, count, last_item)
        name = named if events[start] is late else before.hash
        return Session(name, events[start].at_ms, len(events) - start, last_item)

    def _newest_item(self, at: int, unknown: int) -> int:
        """The newest item up to a place in the session that lies there, 0 where it has none;
        ``unknown`` where the timeline does not hold the session's start."""
        for event in reversed(self._events[: at + 1]):
            if event.item or event.starts:
                return event.item
        return unknown


def timeline(row: Rows, added: list[Step]) -> Timeline:
    """The timeline of a row [1] and of the steps that this pass ``added``, none of them late."""
    used, places = int(row["used"][0]), by_rank(row)[0]
    ring, times = row["ring"][0][places[:used]], times_ms(row)[0][places[:used]]
    hashes = (
        ring["id_low"].astype(np.int64) | (ring["id_high"] & ID_HIGH_HASH).astype(np.int64) << 32
    )
    marks = ring["action"]
    columns = (times, hashes, ring["item"], marks & STARTS_SESSION != 0, marks & NAMES_SESSION != 0)
    events = [Seen(*fields) for fields in zip(*(c.tolist() for c in columns), strict=True)]
    return Timeline(events + [seen(step) for step in added], row["ring"].shape[1])


def seen(step: Step) -> Seen:
    """A step as a timeline remembers it."""
    is_named = step.mark & NAMES_SESSION != 0
    return Seen(step.at_ms, step.id_hash, step.item_hash, step.starts, is_named)
