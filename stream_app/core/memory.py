"""What a step of the model leaves in a user's row, in order or folded again."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from model.spec import Advance, Engine, Floats, Memory, Places
from stream_app.core.state import EXPECTED, NO_ACTION

# float16 ends at 65504 nats; a surprise beyond this bound says no more.
MAX_SURPRISE = 1000.0
# What this module writes into a row.
EXPECTED_FIELDS: tuple[str, ...] = ("expected_item", "expected_item_logp")
EXPECTED_FIELDS += ("expected_action", "expected_action_logp")
FIELDS = ("hidden", "log_z", "close_surprise", *EXPECTED_FIELDS)
ANCHOR_FIELDS = ("anchor", "anchor_log_z", "anchor_age")
OLDEST_AGE = 255  # an anchor of this age or more: no ring reaches back to it


def surprise(step: Advance) -> Floats:
    """How little a step's events were expected, in nats [B]."""
    total = step.item_surprise + step.action_surprise
    return np.asarray(np.minimum(total, np.float32(MAX_SURPRISE)))


def met(held: Memory, starts: npt.NDArray[np.bool_], engine: Engine) -> Memory:
    """Memory that B events meet: the one held, or a fresh one where sessions reset it."""
    if not (engine.spec.reset_at_session and starts.any()):
        return held
    fresh = engine.initial(len(starts))
    hidden = np.where(starts[:, None], fresh.hidden, held.hidden)  # [B, H]
    return Memory(hidden, np.where(starts, fresh.log_z, held.log_z))


def remember(columns: Mapping[str, Any], rows: Places, step: Advance) -> None:
    """Write the memory that a step left, and what it expects, into ``rows`` [B] of columns."""
    columns["hidden"][rows] = step.memory.hidden
    columns["log_z"][rows] = step.memory.log_z
    columns["close_surprise"][rows] = -step.action_logp[:, 0]
    actions = likeliest_actions(step.action_logp)  # [B, k]
    logp = np.take_along_axis(step.action_logp, actions, axis=1)
    found: tuple[Any, ...] = (step.top_items, step.top_logp, actions, logp)
    for name, values in zip(EXPECTED_FIELDS, found, strict=True):
        k = values.shape[1]
        if k >= EXPECTED:
            columns[name][rows] = values[:, :EXPECTED]
        else:
            columns[name][rows, :k] = values


def expect_nothing(columns: Mapping[str, Any], rows: Places) -> None:
    """What the last session's memory expected explains nothing to a memory that was reset."""
    columns["expected_item"][rows] = -1
    columns["expected_action"][rows] = NO_ACTION


def anchor(
    columns: Mapping[str, Any],
    rows: Places,
    step: Advance,
    number: npt.NDArray[np.int64],
    half: int,
) -> None:
    """Count the events ``number`` [B] of the users' histories behind their anchors, and take the
    anchors anew where they are due: one is never older than half a ring."""
    due = number % half == 0
    age = np.minimum(columns["anchor_age"][rows], np.uint8(OLDEST_AGE - 1))
    columns["anchor_age"][rows] = (age + np.uint8(1)) * ~due
    if due.any():
        columns["anchor"][rows[due]] = step.memory.hidden[due]
        columns["anchor_log_z"][rows[due]] = step.memory.log_z[due]


def likeliest_actions(action_logp: Floats) -> npt.NDArray[np.intp]:
    """Codes of the likeliest actions, best first, ties to the lower code [B, min(A, 3)]."""
    return np.argsort(-action_logp, axis=1, kind="stable")[:, :EXPECTED]
