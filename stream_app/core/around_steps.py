"""What is around the model's steps: events enter their users' rings before them, and what the steps
say is written behind them. In numpy; ``enter.c`` and ``leave.c`` of ``extension``
have the same in C."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.spec import Engine, Memory, Places, Tokens
from stream_app.core import features, memory, window
from stream_app.core.lanes import Lanes, lanes
from stream_app.core.results import Results, keep
from stream_app.core.state import ACTION_CODE
from stream_app.core.store import PartitionStore

_RING = ("used", "next", "ring_base_ms", "ring")


class _Windows(NamedTuple):
    """Where N events lie in their rings, and which of a ring's events each saw in its window: later
    ones take the places of older ones."""

    place: Places  # [N]
    inside: npt.NDArray[np.bool_]  # [N, L]


def play(
    chosen: Places,
    columns: dict[str, Any],
    store: PartitionStore,
    engine: Engine,
    results: Results,
) -> None:
    """Play steps that are not late; ``chosen`` [N] are their places among the columns, in order."""
    event = {name: column[chosen] for name, column in columns.items()}  # [N] each
    order = lanes(event["row"], event["starts"] if engine.spec.reset_at_session else None)
    turns = _turns(event["round"])
    tokens, windows = _enter(event, turns, order, store, engine)
    step = engine.advance(tokens, _met(event, order, store, engine), order.rounds)
    surprise, held, spec = memory.surprise(step), store.columns, engine.spec
    for turn in turns:
        users, at = event["row"][turn], order.place[turn]
        if spec.reset_at_session:
            memory.expect_nothing(held, users[event["starts"][turn]])
        held["ring"]["surprise"][users, windows.place[turn]] = surprise[at]
        seen = held["ring"]["surprise"][users]  # [b, L]
        in_window = np.where(windows.inside[turn], seen, np.float16(0))
        entries = chosen[turn]
        keep(results, entries, tokens, step, at)
        results.score[entries] = in_window.max(axis=1)
        for name in memory.EXPECTED_FIELDS:
            getattr(results, name)[entries] = held[name][users]
        own = step.rows(at)
        memory.anchor(held, users, own, event["total"][turn], spec.ring_length // 2)
        memory.remember(held, users, own)


def _turns(numbers: npt.NDArray[np.int64]) -> list[Places]:
    """Events that touch different users: the first ones of all, then the second ones."""
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers)).tolist()
    return [order[start:end] for start, end in pairwise([0, *ends]) if end > start]


def _enter(
    event: dict[str, Any],
    turns: list[Places],
    order: Lanes,
    store: PartitionStore,
    engine: Engine,
) -> tuple[Tokens, _Windows]:
    """Put N events into their rings; their tokens in the order of the lanes."""
    spec, held, n = engine.spec, store.columns, len(order.place)
    dense = np.empty((n, len(spec.features)), np.float32)
    windows = _Windows(np.empty(n, np.intp), np.empty((n, spec.ring_length), np.bool_))
    for turn in turns:
        own = {name: column[turn] for name, column in event.items()}  # [b] each
        rows = store.rows[own["row"]]  # [b], a copy
        windows.place[turn] = window.insert(rows, window.arrivals(own))
        times = window.times_ms(rows)  # [b, L]
        inside = window.within(times, window.used(rows), own["at_ms"], spec.window_ms)
        windows.inside[turn] = inside
        moment = features.Moment(
            items=rows["ring"]["item"],
            marks=rows["ring"]["action"],
            times=times,
            inside=inside,
            item=own["item_hash"],
            at_ms=own["at_ms"],
            dwell=own["dwell"],
            position=own["position"],
        )
        dense[order.place[turn]] = features.dense(spec, moment, store.config.burst_ms)
        for name in _RING:
            held[name][own["row"]] = rows[name]
    by_place = np.argsort(order.place)
    tokens = Tokens(
        event["item"][by_place],
        (event["mark"][by_place] & ACTION_CODE).astype(np.int32),
        features.gap_codes(event["gap_ms"][by_place], spec),
        dense,
    )
    return tokens, windows


def _met(event: dict[str, Any], order: Lanes, store: PartitionStore, engine: Engine) -> Memory:
    """The memories that the first events of the lanes meet."""
    first = np.argsort(order.place)[: order.rounds[0]]
    rows = store.rows[event["row"][first]]
    held = Memory(np.ascontiguousarray(rows["hidden"]), np.ascontiguousarray(rows["log_z"]))
    return memory.met(held, event["starts"][first], engine)
