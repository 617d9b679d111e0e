"""Memory made again from a user's ring: after a late event, or under another model.

The ring holds what tokens are made of, in event-time order, so folding it through the engine ends
in the same bits as the events coming one by one did. That holds where the fold begins with the
memory that its first event met (the anchor, a fresh one at the user's first event, or at a session
that resets it) and where the ring reaches back over the features' window of that event. Elsewhere
it is the best that can be known: a fresh memory that reads the whole ring. A late event's own score
is, likewise, the largest surprise of its window that the ring still holds.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from model.spec import Advance, Engine, Ints, Memory, ModelSpec, Places, Tokens
from stream_app.core import features, memory, window
from stream_app.core.lanes import lanes
from stream_app.core.state import ACTION_CODE, DWELL_SHIFT, STARTS_SESSION, Rows

# What is folded in one call of the engine: the answers to all its events are there at once.
LANES_AT_ONCE = 256
# Histories whose windows are read at once, [n, L] each.
EVENTS_AT_ONCE = 4_096

_TOKEN = Tokens.__struct_fields__

Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class History(msgspec.Struct, frozen=True):
    """What B users did, as their rings hold it: [B, L] by rank, oldest event first."""

    used: Counts  # [B] ranks that hold an event
    total: Counts  # [B] the user's events up to the newest one of the ring
    times: Counts
    items: npt.NDArray[np.uint32]  # hashes
    marks: npt.NDArray[np.uint8]  # action codes with session marks
    dwell: npt.NDArray[np.uint8]  # codes
    starts: Flags  # first of its session
    item: Ints  # codes
    gap: Ints  # codes
    position: Counts  # 1-based place in the session

    def tokens(self, lanes: Places, ranks: Places, spec: ModelSpec, burst_ms: int) -> Tokens:
        """Tokens of the events of ``ranks`` [b] in the rings of ``lanes`` [b]: what the model was
        told when each of them was its user's newest."""
        at = (lanes, ranks)
        times, at_ms = self.times[lanes], self.times[at]
        seen = np.arange(times.shape[1]) <= ranks[:, None]  # [b, L]
        moment = features.Moment(
            items=self.items[lanes],
            marks=self.marks[lanes],
            times=times,
            inside=window.within(times, seen, at_ms, spec.window_ms),
            item=self.items[at],
            at_ms=at_ms,
            dwell=self.dwell[at],
            position=self.position[at],
        )
        action = (self.marks[at] & ACTION_CODE).astype(np.int32)
        return Tokens(self.item[at], action, self.gap[at], features.dense(spec, moment, burst_ms))


def history(rows: Rows, engine: Engine, total: Counts, session_events: Counts) -> History:
    """Read the rings of B rows. ``total`` and ``session_events`` [B] count the user's events and
    those of the session at hand up to the ring's newest event."""
    spec, used = engine.spec, rows["used"].astype(np.int64)
    lanes, places = np.arange(len(rows))[:, None], window.by_rank(rows)  # [B, 1], [B, L]
    ring, times = rows["ring"][lanes, places], window.times_ms(rows)[lanes, places]
    ranks = np.arange(spec.ring_length)[None, :]  # [1, L]
    starts = ((ring["action"] & STARTS_SESSION) != 0) & (ranks < used[:, None])
    gap_ms = np.maximum(np.diff(times, axis=1, prepend=times[:, :1]), 0)
    is_first = (ranks == 0) | (starts if spec.reset_at_session else False)
    gap_ms = np.where(is_first, -1, gap_ms)
    return History(
        used=used,
        total=total,
        times=times,
        items=ring["item"],
        marks=ring["action"],
        dwell=(ring["id_high"] >> DWELL_SHIFT).astype(np.uint8),
        starts=starts,
        item=engine.vocabulary.codes_of(ring["item"]),
        gap=features.gap_codes(gap_ms, spec),
        position=_positions(starts, used, session_events),
    )


def _positions(starts: Flags, used: Counts, session_events: Counts) -> Counts:
    """Places in the session [B, L]. Where the ring lost a session's start they are counted back
    from the session at hand, or, in an earlier one, from the oldest event that is left."""
    ranks = np.arange(starts.shape[1])[None, :]
    start = np.maximum.accumulate(np.where(starts, ranks, -1), axis=1)
    back = np.maximum(session_events[:, None] - (used[:, None] - 1 - ranks), 1)
    has_start = np.logical_or.reduce(starts, axis=1)[:, None]
    unknown = np.where(has_start, ranks + 1, back)
    return np.where(start >= 0, ranks - start + 1, unknown).astype(np.int64)


class Folded(msgspec.Struct, frozen=True):
    """One more event of each of b users, folded."""

    lanes: Places  # [b] places among the rows
    ranks: Places  # [b] places in their histories
    tokens: Tokens
    step: Advance


def refold(
    rows: Rows,
    told: History,
    first: Places,
    before: Memory,
    priced: Places,
    engine: Engine,
    burst_ms: int,
    see: Callable[[Folded], None] = lambda folded: None,
) -> None:
    """Fold B histories from rank ``first`` [B] on, where memory is ``before``; writes memory,
    expectations and anchors into the rows, and from rank ``priced`` [B] on the ring's surprises.

    ``see`` gets every step while the rows still hold what the one before it expected. The caller
    has set anchors, with their ages, and expectations to what holds before ``first``.
    """
    columns: dict[str, Any] = {name: rows[name] for name in rows.dtype.names or ()}
    places, surprises = window.by_rank(rows), rows["ring"]["surprise"]
    half = engine.spec.ring_length // 2
    for start in range(0, len(rows), LANES_AT_ONCE):
        chosen = np.arange(start, min(start + LANES_AT_ONCE, len(rows)))
        for folded in _folded(chosen, told, first, before, engine, burst_ms):
            own, ranks, step = folded.lanes, folded.ranks, folded.step
            new = np.flatnonzero(ranks >= priced[own])
            surprises[own[new], places[own[new], ranks[new]]] = memory.surprise(step)[new]
            if engine.spec.reset_at_session:
                memory.expect_nothing(columns, own[told.starts[own, ranks]])
            see(folded)
            number = told.total[own] - told.used[own] + ranks + 1
            memory.anchor(columns, own, step, number, half)
            memory.remember(columns, own, step)


def _folded(
    chosen: Places,
    told: History,
    first: Places,
    before: Memory,
    engine: Engine,
    burst_ms: int,
) -> Iterator[Folded]:
    """The steps of the histories ``chosen``, played in one call: the first ones of all, then the
    second ones."""
    spec, events = engine.spec, told.used[chosen] - first[chosen]
    users = np.repeat(chosen, events)  # [N]
    if not len(users):
        return
    number = np.arange(len(users)) - np.repeat(np.cumsum(events) - events, events)
    ranks = first[users] + number
    starts = told.starts[users, ranks]
    order = lanes(users, starts if spec.reset_at_session else None)
    by_place = np.argsort(order.place)
    parts = [
        told.tokens(users[part], ranks[part], spec, burst_ms)
        for part in np.split(by_place, range(EVENTS_AT_ONCE, len(users), EVENTS_AT_ONCE))
    ]
    tokens = Tokens(*(np.concatenate([getattr(part, name) for part in parts]) for name in _TOKEN))
    opened = by_place[: order.rounds[0]]
    held = Memory(before.hidden[users[opened]], before.log_z[users[opened]])
    step = engine.advance(tokens, memory.met(held, starts[opened], engine), order.rounds)
    for n in range(int(number.max()) + 1):
        own = np.flatnonzero(number == n)  # [b]
        at = order.place[own]
        yield Folded(users[own], ranks[own], tokens.rows(at), step.rows(at))


def rebuild(
    rows: Rows, engine: Engine, burst_ms: int, total: Counts, session_events: Counts
) -> None:
    """Make the memories of B rows anew from all that their rings hold, under any model whose action
    codes the rings have; the ring's surprises are priced by it. Exact while a ring holds the user's
    whole history."""
    lanes = np.arange(len(rows))
    fresh = engine.initial(len(rows))
    rows["hidden"], rows["log_z"] = fresh.hidden, fresh.log_z
    rows["anchor"], rows["anchor_log_z"], rows["anchor_age"] = fresh.hidden, fresh.log_z, 0
    memory.expect_nothing({name: rows[name] for name in memory.FIELDS}, lanes)
    first = np.zeros(len(rows), np.intp)
    told = history(rows, engine, total, session_events)
    refold(rows, told, first, fresh, first, engine, burst_ms)
