"""Targets against their definition, event by event; stretches and batches lose nothing."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data import (
    NONE,
    DataError,
    check_log,
    data_hash,
    epoch_batches,
    memory_starts,
    next_index,
    padded_places,
    recency_weights,
    segments_of,
    targets_of,
)
from model.log import EventLog
from model.spec import CLOSE
from tests.model.logs import log_of, logs, spec_of

ITEMS = tuple("abcdef")
BOTH = [spec_of(reset=True), spec_of(reset=False)]
any_log = st.sampled_from(BOTH).flatmap(lambda spec: st.tuples(st.just(spec), logs(spec)))


@given(any_log)
def test_targets_follow_their_definition(case: tuple[object, EventLog]) -> None:
    spec, log = case[0], case[1]
    assert isinstance(spec, type(BOTH[0]))
    targets = targets_of(log, spec)
    bounds = log.session_start.tolist()
    user_bounds = log.session_start[log.user_start].tolist()
    for t in range(log.events):
        session = next(s for s in range(log.sessions) if bounds[s] <= t < bounds[s + 1])
        end = bounds[session + 1]
        user_end = next(b for b in user_bounds if b > t)
        horizon = end if spec.reset_at_session else user_end
        later = [int(i) for i in log.item[t + 1 : horizon] if i < spec.no_item]
        expected = later[0] if later and later[0] < spec.item_count else NONE
        assert targets.item[t] == expected
        if t + 1 < end:
            assert targets.action[t] == log.action[t + 1]
            assert targets.gap[t] == log.gap[t + 1] - 1
        else:
            assert targets.action[t] == (CLOSE if log.closed[session] else NONE)
            assert targets.gap[t] == NONE
        for column, name in enumerate(("cart", "purchase")):
            follows = spec.actions.index(name) in log.action[t + 1 : end]
            assert targets.intent[t, column] == (follows if log.closed[session] else NONE)


def test_an_absent_action_name_leaves_its_head_without_targets() -> None:
    spec = spec_of(actions=("_close", "other", "view", "purchase"))
    targets = targets_of(log_of([[[(1, 2), (2, 3)]]], spec), spec)
    assert targets.intent[:, 0].tolist() == [NONE, NONE]
    assert targets.intent[:, 1].tolist() == [1, 0]


def test_a_gap_of_no_previous_event_is_no_target() -> None:
    spec = spec_of()
    log = log_of([[[(1, 2), (2, 2)]]], spec)
    log.gap[:] = 0
    assert targets_of(log, spec).gap.tolist() == [NONE, NONE]


@given(st.lists(st.tuples(st.integers(0, 1), st.booleans()), max_size=20))
def test_next_index_is_the_next_marked_one(steps: list[tuple[int, bool]]) -> None:
    stretch = np.cumsum([step for step, _ in steps], dtype=np.int64)
    marked = np.array([mark for _, mark in steps], bool)
    found = next_index(marked, stretch)
    for t in range(len(steps)):
        later = [u for u in range(t + 1, len(steps)) if marked[u] and stretch[u] == stretch[t]]
        assert found[t] == (later[0] if later else NONE)


@given(any_log, st.integers(2, 7))
def test_segments_score_every_event_once_with_its_past(
    case: tuple[object, EventLog], max_length: int
) -> None:
    spec, log = case[0], case[1]
    assert isinstance(spec, type(BOTH[0]))
    segments = segments_of(log, spec, max_length)
    scored = np.zeros(log.events, int)
    starts = set(memory_starts(log, spec).tolist())
    for r in range(len(segments.start)):
        start, first, stop = segments.start[r], segments.scored[r], segments.stop[r]
        scored[first:stop] += 1
        assert start <= first < stop
        assert stop - start <= max_length
        assert bool(segments.fresh[r]) == (int(start) in starts)
        assert first - start == (0 if segments.fresh[r] else max_length // 2)
        assert not starts & set(range(int(start) + 1, int(stop)))
    assert (scored == 1).all()


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=300),
    st.integers(1, 20),
    st.integers(1, 200),
    st.integers(0, 5),
)
def test_batches_hold_every_segment_once_within_bounds(
    lengths: list[int], sequences: int, events: int, epoch: int
) -> None:
    array = np.array(lengths)
    batches = epoch_batches(array, sequences, events, seed=3, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= sequences
        assert len(batch) == 1 or len(batch) * array[batch].max() <= events
    again = epoch_batches(array, sequences, events, seed=3, epoch=epoch)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_epochs_are_shuffled_differently() -> None:
    one, two = (epoch_batches(np.full(50, 3), 10, 99, seed=3, epoch=e)[0] for e in (0, 1))
    assert not np.array_equal(one, two)


def test_padding_repeats_the_last_event() -> None:
    places, real = padded_places(np.array([4, 10]), np.array([3, 1]))
    assert places.tolist() == [[4, 5, 6], [10, 10, 10]]
    assert real.tolist() == [[True, True, True], [True, False, False]]


@given(logs(BOTH[0]))
def test_logs_that_follow_the_spec_pass(log: EventLog) -> None:
    check_log(log, BOTH[0], ITEMS)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("item", np.array([0, 9], np.int32), "item codes run from 0 to 9, the spec allows 0 to 8"),
        ("item", np.array([-1, 0], np.int32), "item codes"),
        ("action", np.array([2, 5], np.int32), "action codes"),
        ("gap", np.array([1, 4], np.int32), "gap codes"),
        ("gap", np.array([1], np.int32), "differ in length"),
        ("dense", np.zeros((2, 1), np.float32), "dense features have the shape"),
        ("session_start", np.array([0, 1]), "session_start must rise from 0 to 2"),
        ("user_start", np.array([0, 2]), "user_start must rise from 0 to 1"),
        ("closed", np.zeros(2, bool), "1 sessions, but 2 marks"),
    ],
)
def test_a_log_that_contradicts_its_spec_is_refused(
    name: str, value: np.ndarray, message: str
) -> None:
    spec = spec_of()
    log = log_of([[[(1, 2), (2, 2)]]], spec)
    with pytest.raises(DataError, match=message):
        check_log(msgspec.structs.replace(log, **{name: value}), spec, ITEMS)


def test_nan_features_are_refused() -> None:
    spec = spec_of(features=("price",))
    log = log_of([[[(1, 2), (2, 2)]]], spec)
    log.dense[1, 0] = np.nan
    with pytest.raises(DataError, match="NaN"):
        check_log(log, spec, ITEMS)


def test_a_vocabulary_of_another_length_is_refused() -> None:
    with pytest.raises(DataError, match="6 items, 2 are given"):
        check_log(log_of([], spec_of()), spec_of(), ("a", "b"))


def test_the_data_hash_names_events_and_items() -> None:
    spec = spec_of()
    log = log_of([[[(1, 2), (2, 2)]]], spec)
    other = log_of([[[(1, 2), (3, 2)]]], spec)
    assert data_hash(log, ITEMS) == data_hash(log_of([[[(1, 2), (2, 2)]]], spec), ITEMS)
    assert len({data_hash(log, ITEMS), data_hash(other, ITEMS), data_hash(log, ITEMS[::-1])}) == 3


def test_a_sessions_weight_halves_with_the_share_that_came_later() -> None:
    log = log_of([[[(0, 2)], [(1, 2), (2, 2)]], [[(0, 2)], [(1, 2)]]], BOTH[0])
    weights = recency_weights(log, 0.25)
    assert weights is not None
    np.testing.assert_allclose(weights / weights[0], [1, 2, 2, 4, 8])
    assert weights[[0, 1, 3, 4]].mean() == pytest.approx(1)
    assert recency_weights(log, 0) is None
