"""Simulated events as they fall due, so that event time keeps up with a clock."""

from collections.abc import Callable, Iterator

from stream_app.simulate.click import SimulatedEvent


def at_arrival(
    events: Iterator[SimulatedEvent], now_ms: Callable[[], int], most: int = 1_000
) -> Iterator[list[SimulatedEvent]]:
    """The events that have arrived by now, at each look; an empty list while there are none."""
    for event in events:
        chunk = [event]
        while event.arrived_ms > now_ms():
            yield []
        for event in events:
            if event.arrived_ms > now_ms() or len(chunk) == most:
                yield chunk
                chunk = []
                while event.arrived_ms > now_ms():
                    yield []
            chunk.append(event)
        yield chunk
