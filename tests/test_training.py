"""What an export measures with: first events of real users, those with most events first."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.log import EventLog
from stream_app.training import newest_tokens


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12), users=st.integers(1, 15))
def test_tokens_are_the_users_events_in_turn(lengths: list[int], users: int) -> None:
    events = sum(lengths)
    bounds = np.append(0, np.cumsum(lengths))
    log = EventLog(
        item=np.arange(events, dtype=np.int32),
        action=np.zeros(events, np.int32),
        gap=np.zeros(events, np.int32),
        dense=np.zeros((events, 0), np.float32),
        at_ms=np.arange(events, dtype=np.int64),
        session_start=bounds,
        user_start=np.arange(len(lengths) + 1),
        closed=np.ones(len(lengths), np.bool_),
    )
    steps = newest_tokens(log, users, length=4)
    newest = sorted(lengths[-users:], reverse=True)
    assert [len(step.item) for step in steps] == [
        sum(length > t for length in newest) for t in range(min(4, newest[0]))
    ]
    for before, after in pairwise(steps):
        assert (after.item == before.item[: len(after.item)] + 1).all()
    assert set(steps[0].item.tolist()) <= set(bounds.tolist())
