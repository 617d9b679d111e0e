"""Columns in and records out: what one call of the core takes and gives."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from stream_app.core.events import OUTCOMES

Headers = Sequence[tuple[str, bytes | None]]


class EventBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What one poll brought of one partition, in offset order; all columns have one length."""

    topic: str
    partition: int
    offsets: Sequence[int]
    timestamps_ms: Sequence[int]  # LogAppendTime, or -1 where nothing vouches for a time
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers]
    next_offset: int  # where the next batch of this partition has to start


class Record(NamedTuple):
    """One record for an output topic; ``row`` is the place in the batch of the event behind it."""

    row: int
    key: bytes | None
    value: bytes


class Route(msgspec.Struct, frozen=True):
    """Which model version answers, as ``clickahead.control`` had it up to offset ``as_of``."""

    live: str
    arm: str = "live"
    as_of: int = 0


class OutputBatch(msgspec.Struct, kw_only=True):
    """Everything that a batch gives rise to, each list in offset order."""

    predictions: list[Record] = []
    anomalies: list[Record] = []
    rejected: list[Record] = []
    outcomes: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    reject_reasons: dict[str, int] = {}
    flags: dict[str, int] = {}  # opened alerts by kind
    closed_sessions: int = 0
    fallbacks: int = 0
    notices: list[str] = []  # said once per partition, for people
