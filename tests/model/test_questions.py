"""Which next items are asked for, against the protocols' own words."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data import NONE
from model.log import EventLog
from model.questions import questions_of, seen_before
from model.spec import ModelSpec
from tests.model.logs import log_of, logs, spec_of

BOTH = [spec_of(reset=True), spec_of(reset=False)]
any_log = st.sampled_from(BOTH).flatmap(lambda spec: st.tuples(st.just(spec), logs(spec)))


@given(any_log)
def test_session_asks_for_every_item_with_a_prefix(case: tuple[ModelSpec, EventLog]) -> None:
    spec, log = case
    asked = questions_of(log, spec, "session").event.tolist()
    begins = set(log.session_start.tolist())
    assert asked == [e for e in range(log.events) if log.item[e] < spec.no_item and e not in begins]


@given(any_log)
def test_leave_one_out_asks_for_each_users_last_item(case: tuple[ModelSpec, EventLog]) -> None:
    spec, log = case
    asked = questions_of(log, spec, "leave-one-out").event.tolist()
    bounds = log.session_start[log.user_start].tolist()
    expected = []
    for first, end in pairwise(bounds):
        items = [e for e in range(first, end) if log.item[e] < spec.no_item]
        if items and items[-1] > first:
            expected.append(items[-1])
    assert asked == expected


@given(any_log, st.sampled_from(["session", "leave-one-out"]))
def test_the_memory_asked_lies_before_the_event(
    case: tuple[ModelSpec, EventLog], protocol: str
) -> None:
    spec, log = case
    assert protocol in ("session", "leave-one-out")
    questions = questions_of(log, spec, protocol)  # type: ignore[arg-type]
    begins = log.session_start if spec.reset_at_session else log.session_start[log.user_start]
    for n, event in enumerate(questions.event):
        assert questions.target[n] == log.item[event]
        begin = max(int(b) for b in begins if b <= event)
        assert questions.after[n] == (NONE if begin == event else event - 1)
        items = [int(i) for i in log.item[begin:event] if i < spec.no_item]
        assert questions.last_item[n] == (items[-1] if items else NONE)


def test_only_events_among_those_given_are_asked_for() -> None:
    spec = BOTH[0]
    log = log_of([[[(0, 2), (1, 2), (2, 2)]]], spec)
    among = np.array([True, False, True])
    assert questions_of(log, spec, "session", among).event.tolist() == [2]


def test_what_a_user_saw_is_known_items_of_all_earlier_sessions() -> None:
    spec = BOTH[0]
    log = log_of([[[(5, 2), (6, 2)], [(1, 2), (5, 2), (2, 2)]]], spec)
    assert seen_before(log, spec, 4, 0).tolist() == [1, 5]
