"""What goes wrong between a shop and its stream without anybody meaning harm."""

from random import Random
from typing import NamedTuple

import msgspec

from stream_app.simulate.click import Click

_FIELDS = ("user_id", "item_id", "event_type", "timestamp", "session_id")
_TIMESTAMPS = ("", "yesterday", "0000-00-00", -1)


class Arrival(NamedTuple):
    """A click and how long after its time it arrives."""

    delay_ms: int
    click: Click


def soiled(click: Click, rng: Random) -> list[Arrival]:
    """The same click twice, or late (up to 20 minutes), or with a field missing or broken."""
    draw = rng.random()
    if draw < 0.4:
        return [Arrival(0, click), Arrival(rng.randrange(1, 30_000), click)]
    if draw < 0.75:
        return [Arrival(rng.randrange(1_000, 1_200_000), click)]
    if draw < 0.95:
        without = {rng.choice(_FIELDS): None}
        return [Arrival(0, msgspec.structs.replace(click, **without))]
    return [Arrival(0, msgspec.structs.replace(click, timestamp=rng.choice(_TIMESTAMPS)))]
