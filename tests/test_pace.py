import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.pace import CHUNK, Pace, at_once, at_rate

RATE = st.floats(0.01, 100_000)
SLEEPS = st.lists(st.floats(0, 0.9), max_size=50)


@given(RATE, SLEEPS)
def test_delays_do_not_add_up(rate: float, sleeps: list[float]) -> None:
    """Whatever the sleeps, what was sent is what the elapsed time allows: one event at once, then
    ``rate`` a second."""
    pace, now, sent = Pace(rate, 7.0), 7.0, 0
    for sleep in sleeps:
        now += sleep
        sent += pace.due(now, sent)
        assert sent - 1 <= (now - 7.0) * rate < sent + 1e-6
        pace = pace.caught_up(now, sent)
    assert pace.start == 7.0


@given(RATE, st.lists(st.integers(), max_size=300), SLEEPS)
def test_all_events_come_in_order_and_none_before_its_time(
    rate: float, events: list[int], sleeps: list[float]
) -> None:
    clock = itertools.accumulate(itertools.chain(sleeps, itertools.repeat(1 / rate)), initial=0.0)
    now = [0.0]

    def look() -> float:
        now[0] = next(clock)
        return now[0]

    found: list[int] = []
    for chunk in at_rate(events, rate, look):
        found += chunk
        assert len(found) <= now[0] * rate + 1
    assert found == events


@given(st.integers(0, 3 * CHUNK))
def test_without_a_rate_the_chunks_are_full(count: int) -> None:
    chunks = list(at_once(range(count)))
    assert [n for chunk in chunks for n in chunk] == list(range(count))
    assert all(len(chunk) == CHUNK for chunk in chunks[:-1])


@given(RATE, st.floats(2, 1e6), st.integers(0, 5))
def test_after_a_stall_at_most_a_second_of_events_is_due(
    rate: float, stall: float, sent: int
) -> None:
    pace = Pace(rate, 0.0).caught_up(stall, sent)
    assert pace.due(stall, sent) <= rate + 2


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0 events a second"):
        Pace(rate, 0.0)
