"""Laws of the rolling window: half-open, in event time, over the last L arrivals."""

from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.spec import ModelSpec
from stream_app.core import window
from stream_app.core.state import ID_HIGH_HASH, Rows, row_dtype
from tests.core.streams import START_MS

SPEC = ModelSpec(name="w", item_count=3, top_k=2, hidden_width=2, ring_length=5)
LENGTH = SPEC.ring_length
DAY_MS = 86_400_000
# An event may be as late as the largest allowed lateness, a user away for years.
MAX_LATE_MS = DAY_MS
LAW = settings(deadline=None)


class Put(NamedTuple):
    at_ms: int
    item: int
    action: int
    id_hash: int


# How far an event lies behind the newest before it, and 44 bits for all else that it says.
MOVES = st.tuples(
    st.one_of(
        st.integers(-MAX_LATE_MS, 10_000),
        st.integers(0, 90 * DAY_MS),
        st.sampled_from([0, 1, 1 << 31, (1 << 32) - 1, 1 << 32, 3 * 365 * DAY_MS]),
    ),
    st.integers(1, (1 << 44) - 1),
)


@st.composite
def arrivals(draw: st.DrawFn, max_size: int = 14) -> list[Put]:
    """Events of a user, some late, some after months."""
    newest, puts = START_MS, []
    for move, bits in draw(st.lists(MOVES, min_size=1, max_size=max_size)):
        at_ms = newest + move
        newest = max(newest, at_ms)
        puts.append(Put(at_ms, bits >> 7 & 0xFFFFFFFF, bits >> 3 & 0xFF, bits))
    return puts


def put(rows: Rows, puts: list[Put]) -> list[int]:
    """One event into each row."""
    place = window.insert(
        rows,
        window.Arrivals(
            np.array([p.at_ms for p in puts], np.int64),
            np.array([p.item for p in puts], np.uint32),
            np.array([p.action for p in puts], np.uint8),
            np.array([p.id_hash for p in puts], np.uint64),
            np.array([p.id_hash % 16 for p in puts], np.uint8),
        ),
    )
    return [int(n) for n in place]


def ring(rows: Rows, lane: int = 0) -> list[Put]:
    """What a ring holds, oldest arrival first."""
    row = rows[lane]
    times = window.times_ms(rows)[lane]
    used, start = int(row["used"]), int(row["next"])
    places = range(used) if used < LENGTH else [(start + n) % LENGTH for n in range(LENGTH)]
    entries = [row["ring"][place] for place in places]
    return [
        Put(
            int(times[place]),
            int(entry["item"]),
            int(entry["action"]),
            int(entry["id_low"]) | (int(entry["id_high"]) & ID_HIGH_HASH) << 32,
        )
        for place, entry in zip(places, entries, strict=True)
    ]


def fresh(count: int = 1) -> Rows:
    return np.zeros(count, row_dtype(SPEC))


@LAW
@given(puts=arrivals())
def test_the_ring_holds_the_last_arrivals_in_their_order(puts: list[Put]) -> None:
    rows = fresh()
    for number, event in enumerate(puts):
        assert put(rows, [event]) == [number % LENGTH]
        kept, expected = ring(rows), puts[max(0, number + 1 - LENGTH) : number + 1]
        assert [p[1:] for p in kept] == [p[1:] for p in expected]
        newest = max(p.at_ms for p in puts[: number + 1])
        for held, true in zip(kept, expected, strict=True):
            # Two weeks are the widest window; what is older may be clipped, but stays outside.
            assert held.at_ms == true.at_ms or true.at_ms <= held.at_ms <= newest - 14 * DAY_MS
        assert held.at_ms == event.at_ms  # the event at hand is exact
        assert int(window.used(rows).sum()) == len(expected)


@LAW
@given(puts=arrivals(), width_ms=st.integers(1, 14 * DAY_MS), ahead_ms=st.integers(0, DAY_MS))
def test_membership_is_half_open_and_survives_a_new_base(
    puts: list[Put], width_ms: int, ahead_ms: int
) -> None:
    rows = fresh()
    for event in puts:
        put(rows, [event])
    now_ms = max(p.at_ms for p in puts) + ahead_ms
    inside = window.within(
        window.times_ms(rows), window.used(rows), np.array([now_ms], np.int64), width_ms
    )
    held = {int(rows["ring"]["id_low"][0, place]) for place in np.flatnonzero(inside[0])}
    expected = {
        p.id_hash & 0xFFFFFFFF for p in puts[-LENGTH:] if now_ms - width_ms < p.at_ms <= now_ms
    }
    assert held == expected


@LAW
@given(puts=arrivals(LENGTH), edge=st.sampled_from([-1, 0, 1]), data=st.data())
def test_an_event_leaves_exactly_when_its_width_has_passed(
    puts: list[Put], edge: int, data: st.DataObject
) -> None:
    recent = [p._replace(at_ms=START_MS + n) for n, p in enumerate(puts)]
    rows = fresh()
    for event in recent:
        put(rows, [event])
    place = data.draw(st.integers(0, len(recent) - 1))
    width_ms = data.draw(st.integers(1, DAY_MS))
    now = np.array([recent[place].at_ms + width_ms + edge], np.int64)
    inside = window.within(window.times_ms(rows), window.used(rows), now, width_ms)
    assert bool(inside[0, place]) == (edge < 0)
    at = np.array([recent[place].at_ms + min(edge, 0)], np.int64)
    inside = window.within(window.times_ms(rows), window.used(rows), at, width_ms)
    assert bool(inside[0, place]) == (edge >= 0)  # nothing lies in a window that ends before it


@LAW
@given(puts=arrivals(LENGTH), data=st.data(), width_ms=st.integers(1, DAY_MS))
def test_the_order_of_arrival_does_not_change_membership(
    puts: list[Put], data: st.DataObject, width_ms: int
) -> None:
    near = [p._replace(at_ms=START_MS + p.at_ms % MAX_LATE_MS) for p in puts]
    now = np.array([max(p.at_ms for p in near)], np.int64)
    found = []
    for order in (near, data.draw(st.permutations(near))):
        rows = fresh()
        for event in order:
            put(rows, [event])
        inside = window.within(window.times_ms(rows), window.used(rows), now, width_ms)
        found.append(sorted(p for p, here in zip(ring(rows), inside[0], strict=False) if here))
    assert found[0] == found[1]


@LAW
@given(users=st.lists(arrivals(8), min_size=1, max_size=5))
def test_a_batch_of_users_is_every_user_alone(users: list[list[Put]]) -> None:
    rounds = max(len(puts) for puts in users)
    filled = [puts + puts[-1:] * (rounds - len(puts)) for puts in users]
    together = fresh(len(users))
    for number in range(rounds):
        put(together, [puts[number] for puts in filled])
    for lane, puts in enumerate(filled):
        alone = fresh()
        for event in puts:
            put(alone, [event])
        assert together[lane].tobytes() == alone[0].tobytes()
