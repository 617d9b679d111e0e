"""Rivals of the action head: what they look at, and that they learn what is there."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.action_rivals import Rivals, window_features
from model.data import NONE, targets_of
from model.head_metrics import action_metrics
from model.holdout import with_events
from model.log import EventLog
from tests.model.logs import log_of, logs, spec_of

SPEC = spec_of(items=4)
RNG = np.random.default_rng(0)


def alternating(users: int) -> EventLog:
    """The next action is decided by the last two, never by the last alone."""
    sessions = []
    for _ in range(users):
        actions = [2, int(RNG.integers(2, 4))]
        while len(actions) < 12:
            actions.append(2 if actions[-1] != actions[-2] else 3)
        sessions.append([[(0, action) for action in actions]])
    return log_of(sessions, SPEC)


def test_two_actions_are_enough() -> None:
    train, test = alternating(40), alternating(10)
    target = targets_of(test, SPEC).action
    second = np.arange(len(target)) % 12 != 0
    inside = np.where(second, target, NONE).astype(np.int32)
    rivals = Rivals(train, SPEC)
    for logits in (rivals.markov_logits(test), rivals.boosted_logits(test)):
        assert logits.shape == (test.events, len(SPEC.actions))
        assert action_metrics(logits, inside)["accuracy"] > 0.85


@settings(max_examples=20, deadline=None)
@given(logs(SPEC, min_events=2), st.data())
def test_features_look_at_the_past_alone(log: EventLog, data: st.DataObject) -> None:
    stop = data.draw(st.integers(1, log.events))
    early = with_events(log, np.arange(log.events) < stop)
    np.testing.assert_array_equal(window_features(log, SPEC)[:stop], window_features(early, SPEC))


def test_one_action_is_foretold_for_certain() -> None:
    log = log_of([[[(0, 2), (1, 2), (2, 2)]]], SPEC, closed=[False])
    assert (Rivals(log, SPEC).boosted_logits(log).argmax(axis=1) == 2).all()


def test_rare_actions_do_not_ask_for_many_trees() -> None:
    """What is left to chance is told by its share, however rare: no certainty is learned."""
    rng = np.random.default_rng(1)
    sessions = [
        [[(0, int(action)) for action in rng.choice([2, 3], 8, p=[0.95, 0.05])]] for _ in range(200)
    ]
    log = log_of(sessions, SPEC)
    test = log_of(sessions[:40], SPEC)
    inside = np.arange(test.events) % 8 != 7
    shares = np.exp(Rivals(log, SPEC).boosted_logits(test)[inside, 3])
    assert 0.01 < np.median(shares) < 0.12
    assert shares.max() < 0.35
