"""Pass 2: the model's steps. All events of a batch enter their rings, one call of the engine plays
the steps, and what it says is written behind, event by event. Late events are folded in between."""

from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from model.spec import Engine, Memory, Places, Tokens
from stream_app.core import around_steps, compiled, features, late, memory
from stream_app.core.entries import Steps
from stream_app.core.results import Results, empty
from stream_app.core.store import PartitionStore

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
    play = around_steps.play if compiled.passes is None else _compiled_play
    for number, chosen in enumerate(_stages(steps)):
        if not len(chosen):
            continue
        if number % 2:
            late.fold(chosen, columns, store, engine, results)
        else:
            play(chosen, columns, store, engine, results)
    return results


def _stages(steps: Steps) -> list[Places]:
    """Every other stage holds late steps, at most one of a user: what a user did before it, and not
    what comes behind, is played by then."""
    if not steps.late:
        return [np.arange(len(steps))]
    users = steps.columns["row"]
    order = np.argsort(users, kind="stable")
    is_late = np.zeros(len(steps), np.int64)
    is_late[list(steps.late)] = 1
    so_far = np.cumsum(is_late[order]) - is_late[order]
    own = np.searchsorted(users[order], users[order])  # the user's first step
    stage = np.empty(len(steps), np.int64)
    stage[order] = 2 * (so_far - so_far[own]) + is_late[order]
    return [np.flatnonzero(stage == number) for number in range(int(stage.max()) + 1)]


def _compiled_play(
    chosen: Places,
    columns: dict[str, Any],
    store: PartitionStore,
    engine: Engine,
    results: Results,
) -> None:
    """``around_steps.play`` with its loops in C."""
    assert compiled.passes is not None  # noqa: S101 (who calls this has asked)
    spec, count = engine.spec, len(chosen)
    places = np.empty(count, np.intp)
    rounds = compiled.passes.lanes(columns["table"], chosen, places, spec.reset_at_session)
    item, action, gap = (np.empty(count, np.int32) for _ in range(3))
    dense = np.empty((count, len(spec.features)), np.float32)
    log_z = np.empty(rounds[0], np.float32)
    hidden = np.empty((rounds[0], spec.hidden_width), spec.memory_dtype)
    window = np.empty((count, 2), np.uint8)
    place = (store.row_bytes, store.codec.layout, columns["table"], chosen, places)
    compiled.passes.enter(
        *place,
        features.compiled_form(spec),
        (item, action, gap, dense),
        window,
        hidden.view(np.uint8),
        log_z,
        spec.window_ms,
        store.config.burst_ms,
        _begun(engine) if spec.reset_at_session else None,
    )
    step = engine.advance(Tokens(item, action, gap, dense), Memory(hidden, log_z), rounds)
    compiled.passes.leave(
        *place,
        window,
        (dense, *_found(step), step.memory.log_z),
        np.ascontiguousarray(step.memory.hidden).view(np.uint8),
        _told(results),
        spec.ring_length // 2,
        spec.reset_at_session,
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
