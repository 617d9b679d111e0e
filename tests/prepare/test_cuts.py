"""Cuts lie where so many events are behind them, and leave no part empty."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.prepare.config import DAY_MS, PrepareConfig, PrepareError, SplitKind
from stream_app.prepare.cuts import cuts_of, kind_for, nth_time

TIMES = st.lists(st.integers(0, 5 * DAY_MS), min_size=1, max_size=60)


def counter(times: list[int]):  # type: ignore[no-untyped-def]
    def between(step_ms: int, from_ms: int, to_ms: int) -> Counter[int]:
        return Counter(t // step_ms * step_ms for t in times if from_ms <= t < to_ms)

    return between


def traits(times: list[int], **others: int) -> dict[str, int]:
    found = {
        "clicks": len(times),
        "users": 3,
        "item_events": len(times),
        "pairs": 1,
        "with_session_id": 0,
        "session_is_user": 0,
        "first_ms": min(times),
        "last_ms": max(times),
    }
    return found | others


@given(times=TIMES, place=st.integers(0, 59))
def test_counting_finds_what_sorting_finds(times: list[int], place: int) -> None:
    place %= len(times)
    found = nth_time(place, min(times), max(times), counter(times))
    assert found == sorted(times)[place]


@given(times=TIMES, kind=st.sampled_from((SplitKind.last_day, SplitKind.last_share)))
def test_every_part_has_events_or_the_log_is_refused(times: list[int], kind: SplitKind) -> None:
    try:
        cuts = cuts_of(PrepareConfig(split=kind), traits(times), counter(times))
    except PrepareError as error:
        assert "--split" in str(error)
        return
    assert cuts.validation_ms is not None
    assert cuts.test_ms is not None
    assert min(times) < cuts.validation_ms < cuts.test_ms <= max(times)


@pytest.mark.parametrize(
    ("others", "kind"),
    [
        ({"pairs": 20}, SplitKind.leave_one_out),
        ({"pairs": 20, "with_session_id": 20, "session_is_user": 20}, SplitKind.last_day),
        ({"pairs": 5}, SplitKind.last_day),
        ({"pairs": 5, "last_ms": DAY_MS}, SplitKind.last_share),
    ],
)
def test_the_kind_follows_from_the_log(others: dict[str, int], kind: SplitKind) -> None:
    times = [n * DAY_MS // 4 for n in range(20)]
    assert kind_for(SplitKind.auto, traits(times, **others)) is kind
    assert kind_for(SplitKind.last_share, traits(times, **others)) is SplitKind.last_share
