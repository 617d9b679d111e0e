"""Late events in a round: each is put in at its place in event time, and what its user did since is
folded again behind it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from model.spec import Engine, Floats, Memory, ModelSpec, Places
from stream_app.core import memory, window
from stream_app.core.refold import Folded, History, history, refold
from stream_app.core.results import Results, keep
from stream_app.core.state import STARTS_SESSION, Rows
from stream_app.core.store import PartitionStore

_WRITTEN = ("used", "next", "ring_base_ms", "ring", *memory.FIELDS, *memory.ANCHOR_FIELDS)


def fold(
    steps: Places,
    columns: dict[str, Any],
    store: PartitionStore,
    engine: Engine,
    results: Results,
) -> None:
    """One late event of each of B users; ``steps`` [B] are their places among the columns.

    Fills in the entries of the late events as if each had come in time, and the entries of their
    corrections: what the re-folded memory says after the user's newest event.
    """
    event = {name: column[steps] for name, column in columns.items()}  # [B] each
    corrections = np.array([results.left[step] for step in steps.tolist()], np.intp)
    rows = store.rows[event["row"]]  # [B], a copy
    rank = window.insert_late(rows, window.arrivals(event))
    _mark_next(rows, rank, event["next_starts"])
    told = history(rows, engine, event["total"], event["position"])
    first, before = _start(rows, told, rank, engine)

    memory.expect_nothing({name: rows[name] for name in memory.FIELDS}, np.arange(len(rows)))

    def see(folded: Folded) -> None:
        lanes = folded.lanes
        own = np.flatnonzero(folded.ranks == rank[lanes])
        newest = np.flatnonzero(folded.ranks + 1 == told.used[lanes])
        keep(results, steps[lanes[own]], folded.tokens, folded.step, own)
        keep(results, corrections[lanes[newest]], folded.tokens, folded.step, newest)
        for name in memory.EXPECTED_FIELDS:
            getattr(results, name)[steps[lanes[own]]] = rows[name][lanes[own]]

    refold(rows, told, first, before, rank, engine, store.config.burst_ms, see)
    results.score[steps] = _scores(rows, told, rank, engine.spec)
    results.score[corrections] = _scores(rows, told, told.used - 1, engine.spec)
    for name in _WRITTEN:
        store.columns[name][event["row"]] = rows[name]


def _mark_next(rows: Rows, rank: Places, starts: npt.NDArray[np.bool_]) -> None:
    """Say of the events behind the late ones whether they start a session now [B]."""
    lane, marks = np.arange(len(rows)), rows["ring"]["action"]
    place = window.by_rank(rows)[lane, rank + 1]
    kept = marks[lane, place] & ~np.uint8(STARTS_SESSION)
    marks[lane, place] = kept | starts * np.uint8(STARTS_SESSION)


def _start(rows: Rows, told: History, rank: Places, engine: Engine) -> tuple[Places, Memory]:
    """Where to fold from [B], and the memory before it: the anchor if it is older than the late
    event, the start of its session where that resets memory, else a fresh one at the oldest event
    of the ring. Sets the rows' anchors to what holds there."""
    age = rows["anchor_age"].astype(np.int64) + 1  # the late event has come behind it
    anchored = told.used - age
    anchored = np.where((age <= memory.OLDEST_AGE) & (anchored <= rank), anchored, -1)
    session = np.full(len(rows), -1)
    if engine.spec.reset_at_session:
        ranks = np.arange(told.starts.shape[1])
        begun = told.starts & (ranks <= rank[:, None])  # [B, L]
        session = np.where(begun, ranks, -1).max(axis=1)
    fresh = engine.initial(len(rows))
    is_lost = anchored < 0
    first = np.maximum(np.maximum(anchored, session), 0)
    rows["anchor"] = np.where(is_lost[:, None], fresh.hidden, rows["anchor"])
    rows["anchor_log_z"] = np.where(is_lost, fresh.log_z, rows["anchor_log_z"])
    rows["anchor_age"] = np.where(is_lost, 0, first - anchored)
    is_anchor = anchored >= np.maximum(session, 0)
    hidden = np.where(is_anchor[:, None], rows["anchor"], fresh.hidden)  # [B, H]
    return first, Memory(hidden, np.where(is_anchor, rows["anchor_log_z"], fresh.log_z))


def _scores(rows: Rows, told: History, ranks: Places, spec: ModelSpec) -> Floats:
    """The largest surprise in the windows that end with the events of ``ranks`` [B], in nats."""
    lane, places = np.arange(len(rows)), window.by_rank(rows)
    seen = np.arange(told.times.shape[1]) <= ranks[:, None]  # [B, L]
    inside = window.within(told.times, seen, told.times[lane, ranks], spec.window_ms)
    surprise = rows["ring"]["surprise"][lane[:, None], places]  # [B, L]
    return np.asarray(np.where(inside, surprise, np.float16(0)).max(axis=1).astype(np.float32))
