"""Features equal a slow reading of each user's events, in any batch."""

from collections.abc import Sequence
from math import cos, pi, sin
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.spec import ModelSpec, SpecError
from stream_app.core import features, window
from stream_app.core.state import DWELL_SHIFT, STARTS_SESSION, Rows, row_dtype
from tests.core.streams import START_MS
from tests.tiny_model import ACTIONS

LAW = settings(deadline=None, max_examples=60)
SPEC = ModelSpec(
    name="f",
    actions=ACTIONS,
    item_count=3,
    hidden_width=2,
    ring_length=6,
    top_k=2,
    window_ms=600_000,
    gap_edges_ms=(1_000, 60_000),
    features=features.names(ACTIONS),
)
BURST_MS = 10_000
DURATIONS_S: tuple[int, ...] = (
    1,
    3,
    10,
    30,
    60,
    180,
    600,
    1800,
    3600,
    6 * 3600,
    86_400,
    3 * 86_400,
    7 * 86_400,
)
DURATIONS_S += (30 * 86_400,)
COUNTS = (1, 2, 3, 5, 8, 13, 21, 34)


class Event(NamedTuple):
    at_ms: int
    item: int  # 0: none
    action: int
    dwell_ms: int  # -1: none
    position: int


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    moves = st.one_of(st.integers(0, 30_000), st.sampled_from([0, 10_000, 600_000, 10**9]))
    rows = st.tuples(
        moves,
        st.integers(0, 3),
        st.integers(0, len(ACTIONS) - 1),
        st.sampled_from([-1, 0, 999, 1000, 59_999, 86_400_000]),
        st.integers(1, 50),
    )
    newest, events = START_MS + draw(st.integers(0, 10**9)), []
    for move, *rest in draw(st.lists(rows, min_size=1, max_size=12)):
        newest += move
        events.append(Event(newest, *rest))
    return events


def share_below(value: int, edges: Sequence[int]) -> np.float32:
    return np.float32(sum(edge <= value for edge in edges) / len(edges))


def slow(events: list[Event]) -> list[np.float32]:
    """The last event's features, from the list of all events."""
    event, now_ms = events[-1], events[-1].at_ms
    inside = [e for e in events[-SPEC.ring_length :] if now_ms - SPEC.window_ms < e.at_ms]
    n, times = len(inside), [e.at_ms for e in inside]
    hour, weekday = event.at_ms // 3_600_000 % 24, (event.at_ms // 86_400_000 + 3) % 7
    values = {
        "hour_sin": np.float32(sin(2 * pi * hour / 24)),
        "hour_cos": np.float32(cos(2 * pi * hour / 24)),
        "weekday_sin": np.float32(sin(2 * pi * weekday / 7)),
        "weekday_cos": np.float32(cos(2 * pi * weekday / 7)),
        "dwell": share_below(event.dwell_ms, [1000 * s for s in DURATIONS_S]),
        "interval": share_below(
            (max(times) - min(times)) // max(n - 1, 1), [1000 * s for s in DURATIONS_S]
        ),
        "burst": share_below(sum(at > now_ms - BURST_MS for at in times), COUNTS),
        "repeat_share": np.float32(max(sum(e.item == event.item != 0 for e in inside) - 1, 0) / n),
        "session_position": share_below(event.position, COUNTS),
    }
    for code, action in enumerate(ACTIONS[1:], 1):
        values[f"share_{action}"] = np.float32(sum(e.action == code for e in inside) / n)
    return [values[name] for name in SPEC.features]


def dense(histories: list[list[Event]]) -> npt.NDArray[np.float32]:
    """The core's features of each user's last event, all users in one call."""
    rows: Rows = np.zeros(len(histories), row_dtype(SPEC))
    place = np.zeros(len(histories), np.intp)
    for lane, events in enumerate(histories):
        for event in events:
            one = rows[lane : lane + 1]
            arrivals = window.Arrivals(
                np.array([event.at_ms], np.int64),
                np.array([event.item], np.uint32),
                np.array([event.action | STARTS_SESSION], np.uint8),
                np.array([1], np.uint64),
                np.array([features.dwell_code(event.dwell_ms)], np.uint8),
            )
            place[lane] = window.insert(one, arrivals)[0]
    last = [events[-1] for events in histories]
    at_ms = np.array([event.at_ms for event in last], np.int64)
    times, ring = window.times_ms(rows), rows["ring"]
    moment = features.Moment(
        items=ring["item"],
        marks=ring["action"],
        times=times,
        inside=window.within(times, window.used(rows), at_ms, SPEC.window_ms),
        item=np.array([event.item for event in last], np.uint32),
        at_ms=at_ms,
        dwell=(ring["id_high"][np.arange(len(rows)), place] >> DWELL_SHIFT).astype(np.uint8),
        position=np.array([event.position for event in last], np.int64),
    )
    return features.dense(SPEC, moment, BURST_MS)


@LAW
@given(users=st.lists(histories(), min_size=1, max_size=5))
def test_features_are_a_slow_reading_of_the_events_in_any_batch(users: list[list[Event]]) -> None:
    found = dense(users)
    assert found.shape == (len(users), len(SPEC.features))
    assert found.dtype == np.float32
    for lane, events in enumerate(users):
        assert found[lane].tolist() == [float(value) for value in slow(events)]
        assert found[lane].tobytes() == dense([events])[0].tobytes()
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1


@LAW
@given(gaps=st.lists(st.integers(-3, 100_000) | st.integers(0, 1 << 42), min_size=1, max_size=20))
def test_gap_codes_count_the_edges_below(gaps: list[int]) -> None:
    codes = features.gap_codes(np.array(gaps, np.int64), SPEC).tolist()
    edges = SPEC.gap_edges_ms
    assert codes == [0 if gap < 0 else 1 + sum(edge <= gap for edge in edges) for gap in gaps]
    assert all(0 <= code < SPEC.gap_count for code in codes)


def test_without_edges_there_are_two_gap_codes() -> None:
    spec = ModelSpec(name="f", item_count=3, hidden_width=2, top_k=2)
    codes = features.gap_codes(np.array([-1, 0, 1 << 40], np.int64), spec)
    assert codes.tolist() == [0, 1, 1]
    assert spec.gap_count == 2


def test_a_feature_that_does_not_exist_is_named_with_those_that_do() -> None:
    features.check(SPEC)
    spec = ModelSpec(name="f", item_count=3, hidden_width=2, top_k=2, features=("dwell", "share_x"))
    with pytest.raises(
        SpecError, match=r"unknown features share_x; known are hour_sin, .*share_other"
    ):
        features.check(spec)
    assert "share__close" not in features.names(ACTIONS)  # a close is no event of a window
