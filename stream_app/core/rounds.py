"""Pass 2: the model's steps in rounds. Round n holds every user's n-th event of the batch, since an
event needs the memory that the one before it left; a round is one call of the engine."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from model.spec import Advance, Engine, Floats, Ints, Memory, ModelSpec, Tokens
from stream_app.core import features, window
from stream_app.core.entries import Steps
from stream_app.core.state import EXPECTED, NO_ACTION, Rows
from stream_app.core.store import PartitionStore

# float16 ends at 65504 nats; a surprise beyond this bound says no more.
_MAX_SURPRISE = 1000.0
# What this pass writes into a row; the other fields belong to passes 1 and 3.
_OWNED: tuple[str, ...] = (
    "used",
    "next",
    "ring_base_ms",
    "ring",
    "hidden",
    "log_z",
    "close_surprise",
)
_OWNED += ("expected_item", "expected_item_logp", "expected_action", "expected_action_logp")
_OWNED += ("anchor", "anchor_log_z", "anchor_age")


class Results(msgspec.Struct, frozen=True):
    """What the rounds found, by step [N]."""

    dense: Floats  # [N, F] features of the event
    score: Floats  # [N] largest surprise in the window, nats
    item_surprise: Floats  # [N]
    action_surprise: Floats  # [N]
    close_surprise: Floats  # [N] nats, should the session end after this step
    top_items: Ints  # [N, K]
    top_logp: Floats  # [N, K]
    action_logp: Floats  # [N, A]
    cart: Floats  # [N]
    purchase: Floats  # [N]
    gap_logp: Floats  # [N, G-1]
    expected_item: Ints  # [N, 3] what the step before expected, -1: nothing
    expected_item_logp: Floats  # [N, 3]
    expected_action: Ints  # [N, 3]
    expected_action_logp: Floats  # [N, 3]


def advance(steps: Steps, store: PartitionStore, engine: Engine) -> Results:
    """Play the steps; writes windows and memories of their users into the store."""
    results = _empty(len(steps.row), engine.spec)
    if not steps.row:
        return results
    columns = _columns(steps)
    order = np.argsort(columns["round"], kind="stable")
    ends = np.flatnonzero(np.diff(columns["round"][order])) + 1
    for group in np.split(order, ends):
        _round(group, columns, store, engine, results)
    return results


def _round(
    steps: npt.NDArray[np.intp],
    columns: dict[str, Any],
    store: PartitionStore,
    engine: Engine,
    results: Results,
) -> None:
    """One event of each of B users; ``steps`` [B] are their places among the columns."""
    spec = engine.spec
    event = {name: column[steps] for name, column in columns.items()}  # [B] each
    rows = store.rows[event["row"]]  # [B], a copy
    place = window.insert(
        rows, event["at_ms"], event["item_hash"], event["action"], event["id_hash"]
    )
    times = window.times_ms(rows)  # [B, L]
    inside = window.within(times, window.used(rows), event["now_ms"], spec.window_ms)  # [B, L]
    lane = np.arange(len(rows))
    inside[lane, place] = True  # a late event older than the window is still the event at hand
    moment = features.Moment(
        place, times, inside, event["at_ms"], event["now_ms"], event["dwell_ms"], event["position"]
    )
    tokens = Tokens(
        event["item"],
        event["action"].astype(np.int32),
        features.gap_codes(event["gap_ms"], spec),
        features.dense(spec, rows, moment, store.config.burst_ms),
    )
    results.dense[steps] = tokens.dense
    if spec.reset_at_session:
        _expect_nothing(rows, event["starts"])
    step = engine.advance(tokens, _memory(rows, event["starts"], engine))
    surprise = np.minimum(step.item_surprise + step.action_surprise, _MAX_SURPRISE)
    rows["ring"]["surprise"][lane, place] = surprise
    in_window = np.where(inside, rows["ring"]["surprise"], np.float16(0))  # [B, L]
    results.score[steps] = in_window.max(axis=1)
    for name in ("expected_item", "expected_item_logp", "expected_action", "expected_action_logp"):
        getattr(results, name)[steps] = rows[name]
    _keep(results, steps, step)
    _remember(rows, step, event["total"], spec)
    for name in _OWNED:
        store.columns[name][event["row"]] = rows[name]


def _memory(rows: Rows, starts: npt.NDArray[np.bool_], engine: Engine) -> Memory:
    """Memory that B events meet: what the last one left, or a fresh one where sessions reset it."""
    hidden, log_z = np.ascontiguousarray(rows["hidden"]), np.ascontiguousarray(rows["log_z"])
    if engine.spec.reset_at_session and starts.any():
        fresh = engine.initial(len(rows))
        hidden = np.where(starts[:, None], fresh.hidden, hidden)  # [B, H]
        log_z = np.where(starts, fresh.log_z, log_z)  # [B]
    return Memory(hidden, log_z)


def _expect_nothing(rows: Rows, where: npt.NDArray[np.bool_]) -> None:
    """What the last session's memory expected explains nothing to a memory that was reset."""
    for name, nothing in (("expected_item", -1), ("expected_action", NO_ACTION)):
        rows[name] = np.where(where[:, None], nothing, rows[name])


def _keep(results: Results, steps: npt.NDArray[np.intp], step: Advance) -> None:
    for name in ("item_surprise", "action_surprise", "top_items", "top_logp"):
        getattr(results, name)[steps] = getattr(step, name)
    for name in ("action_logp", "cart", "purchase", "gap_logp"):
        getattr(results, name)[steps] = getattr(step, name)
    results.close_surprise[steps] = -step.action_logp[:, 0]


def _remember(rows: Rows, step: Advance, total: npt.NDArray[np.int64], spec: ModelSpec) -> None:
    """Write the step's memory into B gathered rows, and the anchor where it is due."""
    rows["hidden"], rows["log_z"] = step.memory.hidden, step.memory.log_z
    rows["close_surprise"] = -step.action_logp[:, 0]
    k = min(EXPECTED, step.top_items.shape[1])
    rows["expected_item"][:, :k] = step.top_items[:, :k]
    rows["expected_item_logp"][:, :k] = step.top_logp[:, :k]
    actions = likeliest_actions(step.action_logp)  # [B, k]
    k = actions.shape[1]
    rows["expected_action"][:, :k] = actions
    rows["expected_action_logp"][:, :k] = np.take_along_axis(step.action_logp, actions, axis=1)
    # From the anchor a late event's memory can be folded again: it is never older than half a ring.
    due = total % (spec.ring_length // 2) == 0
    rows["anchor"] = np.where(due[:, None], step.memory.hidden, rows["anchor"])
    rows["anchor_log_z"] = np.where(due, step.memory.log_z, rows["anchor_log_z"])
    age = np.minimum(rows["anchor_age"], np.uint8(254)) + np.uint8(1)
    rows["anchor_age"] = np.where(due, 0, age)


def likeliest_actions(action_logp: Floats) -> npt.NDArray[np.intp]:
    """Codes of the likeliest actions, best first, ties to the lower code [B, min(A, 3)]."""
    return np.argsort(-action_logp, axis=1, kind="stable")[:, :EXPECTED]


def _columns(steps: Steps) -> dict[str, Any]:
    types: dict[str, Any] = dict.fromkeys(
        ("at_ms", "now_ms", "gap_ms", "dwell_ms", "position", "total"), np.int64
    )
    types |= {"row": np.intp, "round": np.intp, "starts": np.bool_, "item": np.int32}
    types |= {"action": np.uint8, "item_hash": np.uint32, "id_hash": np.uint64}
    return {name: np.array(getattr(steps, name), dtype) for name, dtype in types.items()}


def _empty(n: int, spec: ModelSpec) -> Results:
    def floats(*width: int) -> Floats:
        return np.zeros((n, *width), np.float32)

    def codes(width: int) -> Ints:
        return np.zeros((n, width), np.int32)

    return Results(
        dense=floats(len(spec.features)),
        score=floats(),
        item_surprise=floats(),
        action_surprise=floats(),
        close_surprise=floats(),
        top_items=codes(spec.top_k),
        top_logp=floats(spec.top_k),
        action_logp=floats(len(spec.actions)),
        cart=floats(),
        purchase=floats(),
        gap_logp=floats(spec.gap_count - 1),
        expected_item=codes(EXPECTED),
        expected_item_logp=floats(EXPECTED),
        expected_action=codes(EXPECTED),
        expected_action_logp=floats(EXPECTED),
    )
