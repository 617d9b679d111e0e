"""The wire: one struct per topic, and the bytes they become.

Every field added later needs a default, so that old readers and old records go on working.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Reason = Literal[
    "empty",
    "size",
    "encoding",
    "syntax",
    "depth",
    "schema",
    "not_finite",
    "user",
    "timestamp",
    "future",
    "late",
]
REASONS: tuple[Reason, ...] = Reason.__args__  # type: ignore[attr-defined]

Outcome = Literal["predicted", "rejected", "duplicate", "heartbeat"]
OUTCOMES: tuple[Outcome, ...] = Outcome.__args__  # type: ignore[attr-defined]

AlertKind = Literal["surprise", "session_close"]
ALERT_KINDS: tuple[AlertKind, ...] = AlertKind.__args__  # type: ignore[attr-defined]

HEARTBEAT = "_heartbeat"

Text = str | int
Probability = Annotated[float, Meta(ge=0, le=1)]


class RawClick(msgspec.Struct, frozen=True):
    """``clickahead.events`` as producers send it. JSON or MessagePack; unknown fields are ignored.

    Ids may be numbers; ``timestamp`` is epoch milliseconds (seconds, micro- and nanoseconds are
    told apart by their size) or RFC 3339.
    """

    user_id: Text | None = None
    timestamp: int | float | str | None = None
    event_id: Text | None = None
    session_id: Text | None = None
    item_id: Text | None = None
    event_type: str | None = None
    dwell_ms: int | float | None = None
    price: float | None = None
    quantity: int | float | None = None
    query: str | None = None
    promotion_id: Text | None = None
    device: str | None = None
    ip: str | None = None


class Source(msgspec.Struct, frozen=True):
    """Where the input record lies in Kafka (in a replay: where it would lie)."""

    topic: str
    partition: int
    offset: int


class RankedItem(msgspec.Struct, frozen=True):
    item_id: str
    probability: Probability


class Verdict(msgspec.Struct, frozen=True):
    """What the anomaly detector says of this event: p-value of the user's largest surprise in the
    window among the calibration scores; ``uncalibrated`` while there are too few of those."""

    state: Literal["normal", "anomalous", "uncalibrated"]
    score: float  # nats
    p_value: Probability | None = None


Fallback = Literal["out_of_vocabulary", "overload"]


class Prediction(msgspec.Struct, frozen=True, omit_defaults=False):
    """``clickahead.predictions``: one per accepted event, key = pseudonym."""

    event_id: str
    user: str  # pseudonym
    source: Source
    at_ms: int  # event time
    revision: int
    model: str  # name and fingerprint of the model version
    arm: str
    as_of: int  # offset of clickahead.control that was applied
    items: list[RankedItem]  # likeliest next items, best first
    actions: dict[str, Probability]  # next action; "_close" is the end of the session
    cart: Probability | None  # a cart event later in this session
    purchase: Probability | None  # a purchase later in this session
    next_event_ms: float | None  # expected time to the next event of the session
    anomaly: Verdict
    fallback: Fallback | None = None
    degraded: int = 0  # 0: everything; 1 to 3: what overload left out


class Alternative(msgspec.Struct, frozen=True):
    """What the model expected instead."""

    value: str
    probability: Probability


class AlertReason(msgspec.Struct, frozen=True):
    what: Literal["item", "action", "session_close"]
    observed: str
    probability: Probability
    expected: list[Alternative]


class Anomaly(msgspec.Struct, frozen=True):
    """``clickahead.anomalies``: an alert opens, rises and closes under one id; key = pseudonym."""

    alert_id: str
    user: str
    kind: AlertKind
    phase: Literal["open", "raise", "close"]
    event_id: str
    source: Source
    at_ms: int
    opened_ms: int
    events: int  # events since the alert opened
    score: float  # nats
    p_value: Probability
    calibration: int  # calibration scores behind the p-value
    threshold: Probability  # flagged when p_value is below
    model: str
    reasons: list[AlertReason]


class HeaderValue(msgspec.Struct, frozen=True):
    name: str
    value: bytes


class RejectedRecord(msgspec.Struct, frozen=True):
    """``clickahead.rejected``: the record as it came, cut at 64 KiB, and why it was refused."""

    reason: Reason
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int  # -1 where unknown
    key: bytes | None
    key_size: int
    value: bytes | None
    value_size: int
    value_blake2b: str  # of the whole value
    headers: list[HeaderValue]


class Item(msgspec.Struct, frozen=True):
    """``clickahead.items`` (compacted side input), key = item id."""

    item_id: str
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    title: str | None = None
    image_vector: list[float] = []
    text_vector: list[float] = []
    stock: int | None = None
    blocked: bool = False


class Control(msgspec.Struct, frozen=True):
    """``clickahead.control`` (compacted side input): an order to every worker."""

    order: Literal["promote", "roll_back", "shadow", "erase_user", "block_item", "unblock_item"]
    model: str | None = None  # name and fingerprint of a model version; shadow without one ends it
    user_id: Text | None = None
    item_id: str | None = None
    user: str | None = None  # pseudonym, where the order should name no person


class Profile(msgspec.Struct, frozen=True):
    """``clickahead.profiles`` (compacted), key = pseudonym."""

    user: str
    as_of_ms: int
    interests: dict[str, float]
    price_band: tuple[float, float] | None
    activity_by_hour: list[float]
    recency_ms: int
    frequency: int
    monetary: float
    churn_risk: Probability | None
    expected_purchases: float | None
    offer_response: float | None
    segment: str | None


class Demand(msgspec.Struct, frozen=True):
    """``clickahead.demand`` (compacted), key = item or category."""

    subject: str
    kind: Literal["item", "category"]
    horizon_ms: int
    from_ms: int
    forecast: float
    low: float
    high: float


TOPICS: dict[str, type[msgspec.Struct]] = {
    "events": RawClick,
    "predictions": Prediction,
    "anomalies": Anomaly,
    "rejected": RejectedRecord,
    "items": Item,
    "control": Control,
    "profiles": Profile,
    "demand": Demand,
}
