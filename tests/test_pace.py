import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.pace import Pace

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


@given(RATE, st.integers(0, 1000), st.floats(0, 100))
def test_waiting_as_long_as_told_makes_an_event_due(rate: float, sent: int, late: float) -> None:
    pace = Pace(rate, 0.0)
    wait = pace.wait_seconds(late, sent)
    assert pace.due(late + wait + 1e-6, sent) >= 1
    if wait > 1e-6:
        assert pace.due(late + wait - 1e-6 * max(1.0, late), sent) <= 1


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
