"""What a net's action head is compared with: a second-order Markov chain, and boosted trees.

Both are fitted to the training log, and asked for the next action after each event, CLOSE
included; the trees see the last actions, their times and counts, and the stream's own features.
"""

from typing import Any

import lightgbm
import numpy as np

from model.data import NONE, stretch_of, targets_of
from model.log import EventLog, Longs
from model.spec import Floats, Ints, ModelSpec

# Actions of the session that the trees look back on.
_WINDOW = 6
# What an unseen pair of actions borrows from the last action alone, in counts.
_BORROWED = 5.0
_ROUNDS = 80
_PARAMETERS: dict[str, Any] = {
    "objective": "multiclass",
    "learning_rate": 0.1,
    "num_leaves": 31,
    "min_data_in_leaf": 30,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "verbosity": -1,
}


def markov_logits(train: EventLog, log: EventLog, spec: ModelSpec) -> Floats:
    """Logits [N, A] of the next action, given the last two of the session."""
    actions = len(spec.actions)
    target = targets_of(train, spec).action
    known = target != NONE
    one, two = _last_actions(train, 1)[:, 0], _last_actions(train, 2)[:, 1]
    pair = (two + 1) * actions + one  # "no earlier action" is row 0
    counts = np.zeros(((actions + 1) * actions, actions))
    np.add.at(counts, (pair[known], target[known]), 1)
    single = np.full((actions, actions), 0.1)
    np.add.at(single, (one[known], target[known]), 1)
    single /= single.sum(axis=1, keepdims=True)
    counts += _BORROWED * np.tile(single, (actions + 1, 1))
    shares = counts / counts.sum(axis=1, keepdims=True)
    asked = (_last_actions(log, 2)[:, 1] + 1) * actions + log.action
    logits: Floats = np.log(shares[asked]).astype(np.float32)
    return logits


def boosted_logits(
    train: EventLog, log: EventLog, spec: ModelSpec, after: Longs | None = None
) -> Floats:
    """Logits [P, A] of the next action after the events ``after`` [P] (None: all), by
    gradient-boosted trees on a window of the session."""
    after = np.arange(log.events) if after is None else after
    target = targets_of(train, spec).action
    known = target != NONE
    classes = np.unique(target[known])
    logits = np.full((len(after), len(spec.actions)), -20.0, np.float32)
    if len(classes) < 2 or len(after) == 0:
        logits[:, classes] = 0
        return logits
    told = lightgbm.Dataset(
        window_features(train, spec)[known],
        np.searchsorted(classes, target[known]),
        categorical_feature=list(range(_WINDOW)),
    )
    trees = lightgbm.train(_PARAMETERS | {"num_class": len(classes)}, told, _ROUNDS)
    shares = np.asarray(trees.predict(window_features(log, spec)[after], num_threads=1))
    logits[:, classes] = np.log(np.maximum(shares, 1e-9))
    return logits


def window_features(log: EventLog, spec: ModelSpec) -> Floats:
    """What the trees see of each event [N, F]: the last actions and gaps, how often the session
    has had each action, its length, whether the item stayed, and the log's dense features."""
    start = log.session_start[:-1][stretch_of(log.session_start, log.events)]
    place = np.arange(log.events)
    before = np.maximum(place - 1, 0)
    stayed = (place > start) & (log.item == log.item[before])
    gaps = np.stack([_back(log.gap, start, k) for k in range(3)], axis=1)
    counts = np.stack(
        [_running(log.action == action, start) for action in range(1, len(spec.actions))], axis=1
    )
    position = place - start
    return np.concatenate(
        [_last_actions(log, _WINDOW), gaps, counts, position[:, None], stayed[:, None], log.dense],
        axis=1,
    ).astype(np.float32)


def _last_actions(log: EventLog, count: int) -> Ints:
    """The session's last ``count`` actions after each event, newest first, NONE before its
    first. [N, count]"""
    start = log.session_start[:-1][stretch_of(log.session_start, log.events)]
    return np.stack([_back(log.action, start, k) for k in range(count)], axis=1)


def _back(values: Ints, start: Longs, steps: int) -> Ints:
    place = np.arange(len(values)) - steps
    return np.where(place >= start, values[np.maximum(place, 0)], NONE).astype(np.int32)


def _running(marked: np.ndarray[Any, np.dtype[np.bool_]], start: Longs) -> Longs:
    """How many were marked in the session up to each event. [N]"""
    total = np.append(0, np.cumsum(marked))
    running: Longs = total[1:] - total[start]
    return running
