"""A batch behind a backlog is as large as the latency target allows, and no larger."""

from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.batch_limit import FEWEST, BatchLimit

costs_us = st.floats(1, 5_000)
targets = st.floats(0.001, 1.0)


def behind_a_backlog(limit: BatchLimit, fixed: float, per_event: float, batches: int = 40) -> float:
    """Seconds of the last of so many full batches."""
    seconds = 0.0
    for _ in range(batches):
        seconds = fixed + per_event * limit.events
        limit.played(limit.events, seconds)
    return seconds


@given(st.integers(1, 100_000), targets, st.floats(0, 0.25), costs_us)
def test_full_batches_settle_where_they_just_fit(
    most: int, target: float, fixed_share: float, cost_us: float
) -> None:
    limit, fixed, per_event = BatchLimit(most, target), fixed_share * target, cost_us / 1e6
    seconds = behind_a_backlog(limit, fixed, per_event)
    fitting = (target - fixed) / per_event
    assert limit.events <= most
    assert limit.events == min(most, FEWEST) or seconds <= 1.01 * target
    assert limit.events == most or limit.events >= min(0.95 * fitting - 2, most)


@given(targets, costs_us, st.floats(1.5, 50))
def test_a_cost_that_rises_is_obeyed_from_the_next_full_batch_on(
    target: float, cost_us: float, times: float
) -> None:
    limit = BatchLimit(100_000, target)
    behind_a_backlog(limit, 0.0, cost_us / 1e6)
    dearer = times * cost_us / 1e6
    limit.played(limit.events, dearer * limit.events)
    # Up to the last digit of the product.
    assert limit.events == FEWEST or dearer * limit.events <= target * (1 + 1e-9)


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(0, 0.05)), max_size=50))
def test_a_trickle_within_the_target_changes_nothing(batches: list[tuple[int, float]]) -> None:
    limit = BatchLimit(2_048, 0.1)
    before = limit.events
    for events, seconds in batches:
        limit.played(events, seconds)
    assert limit.events == before


def test_a_limit_below_the_fewest_is_kept() -> None:
    limit = BatchLimit(4, 0.001)
    behind_a_backlog(limit, 0.0, 1.0)
    assert limit.events == 4
