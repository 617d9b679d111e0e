"""Answers equal those of one event at a time, however memories are batched and cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import scoring
from model.data import memory_starts
from model.log import EventLog
from model.nets import GruNet, TokenBatch
from model.questions import PROTOCOLS, questions_of
from model.ranking import MISS
from model.scoring import answer, hidden_states
from model.spec import ModelSpec
from tests.model.logs import log_of, logs, spec_of

BOTH = [spec_of(reset=True), spec_of(reset=False)]
any_log = st.sampled_from(BOTH).flatmap(lambda spec: st.tuples(st.just(spec), logs(spec)))


def one_by_one(net: GruNet, log: EventLog, spec: ModelSpec) -> dict[int, torch.Tensor]:
    """The memory after each event; under -1 that of nobody."""
    states = {-1: net.initial(1)}
    begins = set(memory_starts(log, spec).tolist())
    columns = (log.item, log.action, log.gap, log.dense)
    for t in range(log.events):
        token = TokenBatch(*(torch.from_numpy(column[t : t + 1]) for column in columns))
        states[t] = net.step(token, states[-1 if t in begins else t - 1])
    return states


@settings(deadline=None, max_examples=60)
@given(
    any_log,
    st.sampled_from(PROTOCOLS),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 20),
)
@torch.no_grad()
def test_answers_equal_one_event_at_a_time(
    case: tuple[ModelSpec, EventLog],
    protocol: str,
    filter_seen: bool,
    rows: int,
    columns: int,
    scores: int,
) -> None:
    spec, log = case
    net = GruNet(spec, torch.Generator().manual_seed(4))
    assert protocol in PROTOCOLS
    questions = questions_of(log, spec, protocol)
    after = np.arange(log.events)[::2]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ROWS", rows), ("COLUMNS", columns), ("SCORES", scores)):
            patch.setattr(scoring, name, value)
        answers = answer(net, log, spec, questions, after, filter_seen=filter_seen)
    states = one_by_one(net, log, spec)
    for p, t in enumerate(after):
        np.testing.assert_allclose(
            answers.action_logits[p], net.action_logits(states[t])[0], atol=1e-5
        )
        np.testing.assert_allclose(
            answers.intent_logits[p], net.intent_logits(states[t])[0], atol=1e-5
        )
    for n, event in enumerate(questions.event):
        target = questions.target[n]
        logits = net.item_logits(states[int(questions.after[n])])[0].numpy()
        user = int(np.searchsorted(log.session_start[log.user_start], event, side="right")) - 1
        first = log.session_start[log.user_start[user]]
        seen = {int(i) for i in log.item[first:event]} if filter_seen else set()
        if target >= spec.item_count or int(target) in seen:
            assert answers.ranks[n] == MISS
            continue
        others = [i for i in range(spec.item_count) if i not in seen and i != target]
        ahead = sum(logits[i] > logits[target] + 1e-4 for i in others)
        not_behind = sum(logits[i] > logits[target] - 1e-4 for i in others)
        assert 1 + ahead <= answers.ranks[n] <= 1 + not_behind


@given(any_log, st.integers(0, 2**31))
@settings(deadline=None)
@torch.no_grad()
def test_every_wanted_state_is_given_once(case: tuple[ModelSpec, EventLog], seed: int) -> None:
    spec, log = case
    wanted = np.flatnonzero(np.random.default_rng(seed).random(log.events) < 0.4)
    given_events = [
        e for events, _ in hidden_states(GruNet(spec), log, spec, wanted) for e in events
    ]
    assert sorted(given_events) == wanted.tolist()


@torch.no_grad()
def test_items_that_a_user_has_had_stand_in_no_list() -> None:
    spec = spec_of(items=3, reset=False)
    # Two items are left after the first, one after the second, and then none.
    log = log_of([[[(0, 2), (1, 2), (2, 2), (spec.item_count, 2)]]], spec)
    questions = questions_of(log, spec, "session")
    nothing = np.zeros(0, np.int64)
    found = answer(GruNet(spec), log, spec, questions, nothing, filter_seen=True, with_lists=True)
    assert found.shown.tolist() == [0, 1, 2]
    assert found.expected.sum() == pytest.approx(2)
    assert (found.best_share[:2] > 0).all()
