"""Columns in and records out: what one call of the core takes and gives."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from stream_app.core.events import OUTCOMES

Headers = Sequence[tuple[str, bytes | None]]

BEFORE = -1
"""``Record.row`` of what no event of the batch caused: it comes before the first one."""


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
    """One record for an output topic; ``row`` is the place in the batch of the event behind it,
    BEFORE where an order was behind it."""

    row: int
    key: bytes | None
    value: bytes


class Route(msgspec.Struct, frozen=True):
    """All that an output depends on besides events and state: who answers, and what was ordered.

    ``blocked`` and ``erasures`` follow from the two topics up to ``as_of`` and ``items_as_of``; the
    other fields are kept in the partition's record.
    """

    live: str  # model version that answers
    arm: str = "live"
    as_of: int = 0  # orders of clickahead.control below this offset are applied
    shadow: str | None = None  # model version that is watched beside it
    items_as_of: int = 0  # records of clickahead.items below this offset are applied
    degraded: int = 0  # see DEGRADED
    blocked: frozenset[str] = frozenset()  # item ids that no prediction may name
    erasures: tuple[tuple[int, bytes], ...] = ()  # (offset of the order, pseudonym)


DEGRADED = (
    "everything",
    "alerts without reasons",
    "and no more than 5 items",
    "and the items that were seen most of late instead of the model's",
)
"""What is left out at each level of ``Route.degraded``, the levels below included."""


class ShadowSums(msgspec.Struct, frozen=True):
    """How a shadow did beside the live model, summed over the steps of one batch."""

    steps: int = 0
    divergence: float = 0.0  # KL(live || shadow) of the next action, nats
    overlap: float = 0.0  # shares of the live top-K that the shadow names, too
    judged: int = 0  # steps whose item both models know and had a chance to name
    live_hits: int = 0  # of ``judged``: the item was in the live top-K
    shadow_hits: int = 0
    failed: str | None = None  # why the shadow gave up; the live path knows nothing of it


class RecallSums(msgspec.Struct, frozen=True):
    """How often the live model's last top-K held the user's next item."""

    judged: int = 0
    hits: int = 0


class OutputBatch(msgspec.Struct, kw_only=True):
    """Everything that a batch gives rise to, each list in offset order."""

    predictions: list[Record] = []
    anomalies: list[Record] = []
    rejected: list[Record] = []
    outcomes: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    reject_reasons: dict[str, int] = {}
    flags: dict[str, int] = {}  # opened alerts by kind
    closed_sessions: int = 0
    fallbacks: int = 0  # revision 0 only
    late: int = 0  # accepted events that were older than their user's newest one
    corrections: int = 0  # predictions of a revision above 0, beside the outcomes
    notices: list[str] = []  # said once per partition, for people
    erased: int = 0  # users whose erasure was carried out
    rebuilt: int = 0  # users whose memory was made anew under another model
    shadow: ShadowSums | None = None  # for metrics only: not repeated after a crash
    recall: RecallSums | None = None  # for metrics only: not repeated after a crash
