import itertools

from hypothesis import given
from hypothesis import strategies as st

from stream_app.files import FileEvent
from stream_app.simulate.click import SimulatedEvent
from stream_app.simulate.live import at_arrival


@given(
    st.lists(st.integers(0, 50), max_size=60),
    st.lists(st.integers(0, 8), max_size=40),
    st.integers(1, 5),
)
def test_every_event_comes_once_in_order_and_not_before_its_time(
    arrivals: list[int], steps: list[int], most: int
) -> None:
    events = [
        SimulatedEvent(FileEvent(None, b"%d" % n), at_ms)
        for n, at_ms in enumerate(sorted(arrivals))
    ]
    clock = itertools.accumulate(itertools.chain(steps, itertools.repeat(1)), initial=0)
    now = [0]

    def look() -> int:
        now[0] = next(clock)
        return now[0]

    found: list[SimulatedEvent] = []
    for chunk in at_arrival(iter(events), look, most):
        assert len(chunk) <= most
        assert all(event.arrived_ms <= now[0] for event in chunk)
        found += chunk
    assert found == events
