"""What a user will do beyond the session's next steps: leave for good, or respond to a promotion.

Answers are made from the log alone, and only where it has shown them: what a log does not reach is
unknown, so nothing behind the end of a training log is ever looked at.
"""

import numpy as np
import numpy.typing as npt

from model.data import NONE, stretch_of
from model.log import EventLog
from model.net_shape import NetShape
from model.spec import Floats, Ints, ModelSpec

# What counts as an answer to a promotion.
RESPONSES = ("cart", "purchase")
_NEVER_MS = np.int64(1 << 62)


def task_targets(log: EventLog, spec: ModelSpec, shape: NetShape) -> Ints:
    """For each event and task 1 where it came true, 0 where it did not, NONE where that is unknown.
    [N, tasks]"""
    columns = [
        churned(log, shape.churn_ms) if task == "churn" else responded(log, spec)
        for task in shape.tasks
    ]
    if not columns:
        return np.zeros((log.events, 0), np.int32)
    return np.stack(columns, axis=1)


def churned(log: EventLog, horizon_ms: int) -> Ints:
    """Whether a user begins no other session within the horizon after an event. [N]

    A log is taken to be complete up to the begin of its newest session: of the sessions that begin
    later, in a part that is held out, it holds nothing.
    """
    begins = log.at_ms[log.session_start[:-1]]  # [S]
    user = stretch_of(log.user_start, log.sessions)  # [S]
    session = stretch_of(log.session_start, log.events)
    goes_on = np.append(user[1:] == user[:-1], False)[: log.sessions]
    following = np.where(goes_on, np.append(begins[1:], 0)[: log.sessions], _NEVER_MS)
    returns = following[session] <= log.at_ms + horizon_ms
    known = returns | (log.at_ms + horizon_ms < begins.max(initial=0))
    return np.where(known, ~returns, NONE).astype(np.int32)


def responded(log: EventLog, spec: ModelSpec) -> Ints:
    """Whether an item shown with a promotion is put into the cart or bought later in its session;
    NONE for events without a promotion, and where a session is open. [N]"""
    found = np.full(log.events, NONE, np.int32)
    if log.promoted is None or not log.events:
        return found
    session = stretch_of(log.session_start, log.events)
    codes = [spec.actions.index(name) for name in RESPONSES if name in spec.actions]
    answers = np.isin(log.action, codes) & (log.item < spec.no_item)
    # The last answer about each item in each session.
    key = session * spec.input_count + log.item
    order = np.argsort(key[answers], kind="stable")
    keys, places = key[answers][order], np.flatnonzero(answers)[order]
    last = np.searchsorted(keys, key, side="right") - 1
    later = np.zeros(log.events, bool)
    if len(keys):
        later = (last >= 0) & (keys[last] == key) & (places[last] > np.arange(log.events))
    known = log.promoted & (log.item < spec.no_item) & (later | log.closed[session])
    found[known] = later[known]
    return found


def base_logits(targets: Ints) -> Floats:
    """Log-odds of each task's base rate among known answers, [tasks]; those of one in a hundred
    where nothing is known."""
    logits = np.empty(targets.shape[1], np.float32)
    for column, answers in enumerate(targets.T):
        known: npt.NDArray[np.int32] = answers[answers != NONE]
        rate = (known.sum() + 0.5) / (len(known) + 1) if len(known) else 0.01
        logits[column] = np.log(rate / (1 - rate))
    return logits
