"""How many events are due: a token bucket on an absolute schedule, so that no delay adds up."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

Event = TypeVar("Event")

CHUNK = 1_000  # events between two looks at the clock


@dataclass(frozen=True, slots=True)
class Pace:
    """``rate`` events a second since ``start``, both on the caller's clock in seconds.

    Whoever falls behind catches up at full speed, but by one second of events at most: beyond that
    the schedule moves, because a long stall must not end in a flood.
    """

    rate: float
    start: float

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1e9:
            raise ValueError(f"a rate is above 0 events a second and at most 1e9, not {self.rate}")

    def due(self, now: float, sent: int) -> int:
        """Events that may be sent at once after ``sent`` of them; the first is due at ``start``."""
        return max(0, int((now - self.start) * self.rate) + 1 - sent)

    def caught_up(self, now: float, sent: int) -> "Pace":
        """The schedule moved so far that at most one second of events is due."""
        behind = now - self.start - sent / self.rate
        return replace(self, start=self.start + behind - 1.0) if behind > 1.0 else self


def at_once(events: Iterable[Event]) -> Iterator[list[Event]]:
    """All events in chunks."""
    remaining = iter(events)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk


def at_rate(
    events: Iterable[Event], rate: float, clock: Callable[[], float]
) -> Iterator[list[Event]]:
    """The events that are due, at each look; an empty list while there are none."""
    remaining = iter(events)
    pace = Pace(rate, clock())
    sent = 0
    while True:
        due = min(pace.due(clock(), sent), CHUNK)
        chunk = list(islice(remaining, due))
        if due and not chunk:
            return
        sent += len(chunk)
        yield chunk
        pace = pace.caught_up(clock(), sent)
