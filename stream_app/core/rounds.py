"""Pass 2: the model's steps in rounds. Round n holds every user's n-th event of the batch, since an
event needs the memory that the one before it left; a round is one call of the engine, and a few
more where events came late."""

from collections.abc import Callable
from itertools import pairwise
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from model.spec import Engine, Memory, Tokens
from stream_app.core import compiled, features, late, memory, window
from stream_app.core.entries import Steps
from stream_app.core.results import Results, empty, keep
from stream_app.core.state import ACTION_CODE
from stream_app.core.store import PartitionStore

Places = npt.NDArray[np.intp]
Play = Callable[[Places, dict[str, Any], PartitionStore, Engine, Results], None]

_RING = ("used", "next", "ring_base_ms", "ring")

_COLUMNS: tuple[str, ...] = (
    "at_ms",
    "gap_ms",
    "position",
    "total",
    "row",
    "round",
    "id_hash",
    "item",
    "item_hash",
)
_COLUMNS += ("mark", "dwell", "starts")
_FOUND = (
    *("item_surprise", "action_surprise", "top_items", "top_logp"),
    *("action_logp", "cart", "purchase", "gap_logp"),
)
_found = attrgetter(*_FOUND)
_told = attrgetter("dense", *_FOUND, "score", "close_surprise", *memory.EXPECTED_FIELDS)


def advance(steps: Steps, store: PartitionStore, engine: Engine) -> Results:
    """Play the steps; writes windows and memories of their users into the store."""
    results = empty(len(steps), list(steps.late), engine.spec)
    if not len(steps):
        return results
    columns = _columns(steps)
    play_round = _round if compiled.passes is None else _compiled_round
    for group in _rounds(steps.columns["round"]):
        for chosen, play in _sorted_out(group, steps, play_round):
            if len(chosen):
                play(chosen, columns, store, engine, results)
    return results


def _rounds(numbers: npt.NDArray[np.int64]) -> list[Places]:
    """The steps of each round."""
    if not np.count_nonzero(numbers):
        return [np.arange(len(numbers))]
    last = int(numbers.max())
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=last + 1)).tolist()
    return [order[start:end] for start, end in pairwise([0, *ends])]


def _sorted_out(group: Places, steps: Steps, play_round: Play) -> list[tuple[Places, Play]]:
    """The steps of a round by what plays them."""
    if not steps.late:
        return [(group, play_round)]
    is_late = np.array([k in steps.late for k in group.tolist()], np.bool_)
    return [(group[~is_late], play_round), (group[is_late], late.fold)]


def _round(
    steps: Places,
    columns: dict[str, Any],
    store: PartitionStore,
    engine: Engine,
    results: Results,
) -> None:
    """One event of each of B users; ``steps`` [B] are their places among the columns."""
    spec, held = engine.spec, store.columns
    event = {name: column[steps] for name, column in columns.items()}  # [B] each
    users = event["row"]
    rows = store.rows[users]  # [B], a copy
    place = window.insert(rows, window.arrivals(event))
    times = window.times_ms(rows)  # [B, L]
    inside = window.within(times, window.used(rows), event["at_ms"], spec.window_ms)  # [B, L]
    ring = rows["ring"]
    moment = features.Moment(
        items=ring["item"],
        marks=ring["action"],
        times=times,
        inside=inside,
        item=event["item_hash"],
        at_ms=event["at_ms"],
        dwell=event["dwell"],
        position=event["position"],
    )
    tokens = Tokens(
        event["item"],
        (event["mark"] & ACTION_CODE).astype(np.int32),
        features.gap_codes(event["gap_ms"], spec),
        features.dense(spec, moment, store.config.burst_ms),
    )
    if spec.reset_at_session:
        memory.expect_nothing(held, users[event["starts"]])
    before = Memory(np.ascontiguousarray(rows["hidden"]), np.ascontiguousarray(rows["log_z"]))
    step = engine.advance(tokens, memory.met(before, event["starts"], engine))
    ring["surprise"][np.arange(len(rows)), place] = memory.surprise(step)
    in_window = np.where(inside, ring["surprise"], np.float16(0))  # [B, L]
    keep(results, steps, tokens, step, slice(None))
    results.score[steps] = in_window.max(axis=1)
    for name in memory.EXPECTED_FIELDS:
        getattr(results, name)[steps] = held[name][users]
    for name in _RING:
        held[name][users] = rows[name]
    memory.anchor(held, users, step, event["total"], spec.ring_length // 2)
    memory.remember(held, users, step)


def _compiled_round(
    steps: Places,
    columns: dict[str, Any],
    store: PartitionStore,
    engine: Engine,
    results: Results,
) -> None:
    """``_round`` with its loops in C."""
    assert compiled.passes is not None  # noqa: S101 (who calls this has asked)
    spec, count = engine.spec, len(steps)
    item, action, gap = (np.empty(count, np.int32) for _ in range(3))
    dense = np.empty((count, len(spec.features)), np.float32)
    log_z, hidden = (
        np.empty(count, np.float32),
        np.empty((count, spec.hidden_width), spec.memory_dtype),
    )
    fresh = _begun(engine) if spec.reset_at_session else None
    place = (store.row_bytes, store.codec.layout, columns["table"], steps)
    compiled.passes.enter(
        *place,
        features.compiled_form(spec),
        (item, action, gap, dense, log_z),
        hidden.view(np.uint8),
        spec.window_ms,
        store.config.burst_ms,
        fresh,
    )
    step = engine.advance(Tokens(item, action, gap, dense), Memory(hidden, log_z))
    found = (dense, *_found(step), step.memory.log_z)
    compiled.passes.leave(
        *place,
        found,
        np.ascontiguousarray(step.memory.hidden).view(np.uint8),
        _told(results),
        spec.window_ms,
        spec.ring_length // 2,
    )


_begun_by = WeakKeyDictionary[Engine, tuple[bytes, float]]()


def _begun(engine: Engine) -> tuple[bytes, float]:
    """The memory that a session begins with, and its log-normaliser."""
    found = _begun_by.get(engine)
    if found is None:
        begun = engine.initial(1)
        found = _begun_by[engine] = begun.hidden.tobytes(), float(begun.log_z[0])
    return found


def _columns(steps: Steps) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "table": np.frombuffer(steps.table, np.uint8).reshape(len(steps), -1)
    }
    if steps.late or compiled.passes is None:
        columns |= {name: steps.columns[name] for name in _COLUMNS}
    if steps.late:
        nexts = {k: found.next_starts for k, found in steps.late.items()}
        columns["next_starts"] = np.array([nexts.get(k, False) for k in range(len(steps))])
    return columns
