"""What a net's action head is compared with: a second-order Markov chain, and boosted trees.

Both are fitted to the training log, and asked for the next action after each event, CLOSE
included; the trees see the last actions, their times and counts, and the stream's own features.
There are as many trees as the newest sessions ask for: with rare actions too many cost more than
anything else.
"""

from functools import cached_property
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from model.data import NONE, stretch_of, targets_of
from model.holdout import hold_out
from model.log import EventLog, Longs
from model.spec import Floats, Ints, ModelSpec

Mask = npt.NDArray[np.bool_]

# Actions of the session that the trees look back on.
_WINDOW = 6
# What an unseen pair of actions borrows from the last action alone, in counts.
_BORROWED = 5.0
# Share of the sessions, the newest ones, that say how many rounds are enough.
_CHECKED = 0.1
_MOST_ROUNDS = 400
_PATIENCE = 20
_PARAMETERS: dict[str, Any] = {
    "objective": "multiclass",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 30,
    "lambda_l2": 5.0,
    "feature_fraction": 0.6,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "verbosity": -1,
}


class Rivals:
    """Both rivals of one training log; each is fitted when it is first asked, and once."""

    def __init__(self, train: EventLog, spec: ModelSpec) -> None:
        self.train, self.spec = train, spec

    def markov_logits(self, log: EventLog) -> Floats:
        """Logits [N, A] of the next action, given the last two of the session."""
        asked = (_last_actions(log, 2)[:, 1] + 1) * len(self.spec.actions) + log.action
        logits: Floats = np.log(self._follows[asked]).astype(np.float32)
        return logits

    def boosted_logits(self, log: EventLog, after: Longs | None = None) -> Floats:
        """Logits [P, A] of the next action after the events ``after`` [P] (None: all), by
        gradient-boosted trees on a window of the session."""
        after = np.arange(log.events) if after is None else after
        logits = np.full((len(after), len(self.spec.actions)), -20.0, np.float32)
        if len(self._classes) < 2 or len(after) == 0:
            logits[:, self._classes] = 0
            return logits
        seen = window_features(log, self.spec)[after]
        shares = np.asarray(self._trees.predict(seen, num_threads=1))
        logits[:, self._classes] = np.log(np.maximum(shares, 1e-9))
        return logits

    @cached_property
    def _target(self) -> Ints:
        return targets_of(self.train, self.spec).action

    @cached_property
    def _follows(self) -> npt.NDArray[np.float64]:
        """Shares of the next action after each pair, [(A + 1) * A, A]: row
        (earlier + 1) * A + last; "no earlier action" is 0."""
        actions, known = len(self.spec.actions), self._target != NONE
        one, two = _last_actions(self.train, 2).T
        pair = (two + 1) * actions + one
        counts = np.zeros(((actions + 1) * actions, actions))
        np.add.at(counts, (pair[known], self._target[known]), 1)
        single = np.full((actions, actions), 0.1)
        np.add.at(single, (one[known], self._target[known]), 1)
        single /= single.sum(axis=1, keepdims=True)
        counts += _BORROWED * np.tile(single, (actions + 1, 1))
        shares: npt.NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
        return shares

    @cached_property
    def _classes(self) -> Ints:
        return np.unique(self._target[self._target != NONE])

    @cached_property
    def _trees(self) -> lightgbm.Booster:
        known = self._target != NONE
        late = hold_out(self.train, _CHECKED).late
        rounds = self._rounds(known & ~late, known & late)
        return lightgbm.train(self._parameters, self._told(known), rounds)

    def _rounds(self, learned: Mask, checked: Mask) -> int:
        """How many rounds on the events ``learned`` [N] foretell the others best."""
        if not learned.any() or not checked.any():
            return _PATIENCE
        told = self._told(learned)
        stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
        found = lightgbm.train(
            self._parameters, told, _MOST_ROUNDS, [self._told(checked, told)], callbacks=[stop]
        )
        return max(1, found.best_iteration)

    @property
    def _parameters(self) -> dict[str, Any]:
        return _PARAMETERS | {"num_class": len(self._classes)}

    def _told(self, events: Mask, binned_as: lightgbm.Dataset | None = None) -> lightgbm.Dataset:
        return lightgbm.Dataset(
            self._features[events],
            np.searchsorted(self._classes, self._target[events]),
            reference=binned_as,
            categorical_feature=list(range(_WINDOW)),
        )

    @cached_property
    def _features(self) -> Floats:
        return window_features(self.train, self.spec)


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


def _running(marked: Mask, start: Longs) -> Longs:
    """How many were marked in the session up to each event. [N]"""
    total = np.append(0, np.cumsum(marked))
    running: Longs = total[1:] - total[start]
    return running
