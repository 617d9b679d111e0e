"""What the simulator makes: clicks, and what is known of them apart from them."""

from typing import NamedTuple

import msgspec

from stream_app.files import FileEvent
from stream_app.simulate.config import Attack


class Click(msgspec.Struct, omit_defaults=True, gc=False):
    """An input record in the making; what nobody fills stays out of it."""

    event_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    item_id: str | None = None
    event_type: str | None = None
    timestamp: int | str | None = None
    dwell_ms: int | None = None
    price: float | None = None
    quantity: int | None = None
    query: str | None = None
    promotion_id: str | None = None
    device: str | None = None
    ip: str | None = None


class Label(NamedTuple):
    """The truth about an event of an attack. It never travels with the event."""

    event_id: str
    user_id: str
    attack: Attack
    attack_id: str


class SimulatedEvent(NamedTuple):
    """An event in the order of arrival, which is the order of time but for late events."""

    event: FileEvent
    arrived_ms: int
    label: Label | None = None


class Campaign(NamedTuple):
    """One attack, of however many events and accounts."""

    attack: Attack
    attack_id: str


class Planned(NamedTuple):
    """A click that will arrive, and the campaign behind it (None: an honest user). It gets its
    event id on arrival, unless it comes with one."""

    at_ms: int
    click: Click
    campaign: Campaign | None = None


def item_name(item: int) -> str:
    return f"i{item}"


def user_name(number: int) -> str:
    """Every number below 2**32 has a name of its own that shows neither order nor kind."""
    return f"u{number * 2_654_435_761 % (1 << 32):08x}"
