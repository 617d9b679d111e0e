"""Lanes hold every event once, a user's in order, and both forms find the same ones."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core import compiled
from stream_app.core.entries import TABLE
from stream_app.core.lanes import lanes

EVENTS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40)


@given(events=EVENTS, resets=st.booleans())
def test_every_round_goes_on_where_the_one_before_it_ended(
    events: list[tuple[int, bool]], resets: bool
) -> None:
    users, begins = np.array([user for user, _ in events]), np.array([new for _, new in events])
    place, rounds = lanes(users, begins if resets else None)
    assert sorted(place.tolist()) == list(range(len(events)))
    assert sum(rounds) == len(events)
    assert rounds == sorted(rounds, reverse=True)
    starts = [0, *np.cumsum(rounds).tolist()]
    newest: dict[int, tuple[int, int]] = {}  # of each user: round and lane
    for user, new, at in zip(users.tolist(), begins.tolist(), place.tolist(), strict=True):
        number = int(np.searchsorted(starts, at, side="right")) - 1
        lane = at - starts[number]
        if user in newest and not (resets and new):
            assert (number - 1, lane) == newest[user]
        else:
            assert number == 0
        newest[user] = number, lane


@given(events=EVENTS, resets=st.booleans(), data=st.data())
def test_both_forms_divide_alike(
    events: list[tuple[int, bool]], resets: bool, data: st.DataObject
) -> None:
    table, last = np.zeros(len(events), TABLE), dict[int, int]()
    for k, (user, new) in enumerate(events):
        table[k]["row"], table[k]["starts"], table[k]["before"] = user, new, last.get(user, -1)
        last[user] = k
    first = data.draw(st.integers(0, len(events) - 1))
    chosen = np.arange(first, len(events))
    begins = table["starts"][chosen] if resets else None
    place, rounds = lanes(table["row"][chosen], begins)
    assert compiled.passes is not None
    found = np.empty(len(chosen), np.intp)
    rows = table.view(np.uint8).reshape(len(events), -1)
    assert compiled.passes.lanes(rows, chosen, found, resets) == rounds
    assert found.tolist() == place.tolist()
