"""The clicks of a run: a simulated shop with dirt and attacks, and spells of what nobody expects.

Event times begin on a fixed day in the past, so that they are a function of the seed; the broker
stamps the times of arrival.
"""

from collections.abc import Iterator
from itertools import islice
from random import Random

import msgspec

from stream_app.files import FileEvent
from stream_app.simulate import SimulatorConfig, simulate
from tests.chaos.schedule import Plan, Spell
from tests.core.streams import hostile

SHOP = SimulatorConfig(
    users=400, items=40, categories=5, dirt=0.05, attack_every_events=500, events_per_second=5.0
)
LEAP_MS = 2_400_000  # longer than the pause that ends a session
SKEW_MS = 55_000
LATEST_MS = 900_000  # beyond the allowed lateness of 600,000
NEVER_MS = 4_102_444_800_000  # 2100: ahead of any broker's clock


def traffic(plan: Plan, rate: float) -> list[FileEvent]:
    """All events of a plan in the order in which they are sent, ``rate`` of them a second."""
    draw = Random(plan.seed)  # noqa: S311
    count = int(plan.seconds * rate)
    shop = simulate(SHOP, Random(plan.seed))  # noqa: S311
    events = [simulated.event for simulated in islice(shop, count)]
    for spell in plan.spells:
        start = min(count, int(spell.at_ms * rate / 1_000))
        end = min(count, start + int(spell.for_ms * rate / 1_000))
        if spell.weather == "leap":
            events[start:] = [moved(event, LEAP_MS) for event in events[start:]]
        elif spell.weather == "poison":
            events[start:end] = poison(end - start, plan.seed, draw)
        else:
            events[start:end] = list(strewn(events[start:end], spell, draw))
    return events


def poison(count: int, seed: int, draw: Random) -> list[FileEvent]:
    return [
        FileEvent(b"u%d" % draw.randrange(100), value) for value in hostile(max(30, count), seed)
    ]


def strewn(events: list[FileEvent], spell: Spell, draw: Random) -> Iterator[FileEvent]:
    """Every other event late, or on a clock that is ahead, a little or by far."""
    for event in events:
        if draw.random() < 0.5:
            yield event
        elif spell.weather == "late":
            yield moved(event, -draw.randrange(LATEST_MS))
        elif draw.random() < 0.9:
            yield moved(event, draw.randrange(-SKEW_MS, SKEW_MS))
        else:
            yield moved(event, NEVER_MS)


def moved(event: FileEvent, by_ms: int) -> FileEvent:
    """The event at another time; one that has none stays as it is."""
    try:
        fields = msgspec.json.decode(event.value)
        fields["timestamp"] += by_ms
    except (ValueError, msgspec.DecodeError, KeyError, TypeError, RecursionError):
        return event
    return event._replace(value=msgspec.json.encode(fields))
