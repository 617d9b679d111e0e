"""Nothing that is held out begins before what is kept, and nothing is lost."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data import check_log
from model.holdout import hold_out, hold_out_last, with_sessions
from model.log import EventLog
from tests.model.logs import log_of, logs, spec_of

SPEC = spec_of()
ITEMS = tuple("abcdef")


@given(logs(SPEC), st.floats(0, 0.99), st.permutations(range(200)))
def test_the_newest_sessions_are_held_out(log: EventLog, share: float, times: list[int]) -> None:
    for u in range(len(log.user_start) - 1):  # a user's events stay in order
        part = slice(*log.session_start[log.user_start[u : u + 2]])
        log.at_ms[part] = np.sort(times[: log.at_ms[part].size])
    held = hold_out(log, share)
    begins = log.at_ms[log.session_start[:-1]]
    late = held.late[log.session_start[:-1]] if log.sessions else np.zeros(0, bool)
    assert late.sum() == int(log.sessions * share)
    if late.any() and not late.all():
        assert begins[~late].max() <= begins[late].min()
    check_log(held.early, SPEC, ITEMS)
    assert held.early.sessions + late.sum() == log.sessions
    assert held.early.events == (~held.late).sum()
    np.testing.assert_array_equal(held.early.item, log.item[~held.late])
    for u in range(len(log.user_start) - 1):  # late sessions are a user's last ones
        of_user = late[log.user_start[u] : log.user_start[u + 1]]
        assert (np.diff(of_user.astype(int)) >= 0).all()


def test_users_without_a_session_vanish() -> None:
    log = log_of(
        [[[(0, 2)], [(1, 2), (2, 2)]], [[(3, 2)]], [[(4, 2)]]], SPEC, [True, False, True, False]
    )
    kept = with_sessions(log, np.array([False, True, False, True]))
    assert kept.item.tolist() == [1, 2, 4]
    assert kept.session_start.tolist() == [0, 2, 3]
    assert kept.user_start.tolist() == [0, 1, 2]
    assert kept.closed.tolist() == [False, False]


@given(logs(SPEC))
def test_each_users_last_item_is_held_out(log: EventLog) -> None:
    held = hold_out_last(log, SPEC)
    check_log(held.early, SPEC, ITEMS)
    np.testing.assert_array_equal(held.early.item, log.item[~held.late])
    bounds = log.session_start[log.user_start]
    for first, last in pairwise(bounds):
        bearing = [place for place in range(first, last) if log.item[place] < SPEC.no_item]
        late = np.flatnonzero(held.late[first:last]) + first
        if bearing and bearing[-1] > first:
            assert late.tolist() == list(range(bearing[-1], last))
        else:
            assert late.size == 0


def test_a_session_that_lost_its_end_is_open() -> None:
    log = log_of([[[(0, 2), (1, 2)], [(2, 2), (3, 2)]], [[(4, 2)], [(5, 2)]]], SPEC)
    held = hold_out_last(log, SPEC)
    assert held.early.item.tolist() == [0, 1, 2, 4]
    assert held.early.session_start.tolist() == [0, 2, 3, 4]
    assert held.early.closed.tolist() == [True, False, True]
