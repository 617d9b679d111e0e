"""Columns in and records out: what one call of the core takes and gives."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.core.events import OUTCOMES

Numbers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
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


class PackedRecords(Sequence[Record]):
    """Records that lie behind one another: keys of one length, and values up to ``ends``."""

    def __init__(self, rows: Numbers, keys: Bytes, values: Bytes, ends: Numbers) -> None:
        self.rows, self.keys, self.values, self.ends = rows, keys, values, ends

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Record]:
        width, ends = self.keys.shape[1], self.ends.tolist()
        keys, values = self.keys.tobytes(), self.values[: ends[-1] if ends else 0].tobytes()
        starts = zip(range(0, len(keys), width), [0, *ends], ends, strict=False)
        parts = ((keys[k : k + width], values[start:end]) for k, start, end in starts)
        for row, (key, value) in zip(self.rows.tolist(), parts, strict=True):
            yield Record(row, key, value)

    @overload
    def __getitem__(self, place: int) -> Record: ...

    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...

    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        if isinstance(place, slice):
            return list(self)[place]
        k = range(len(self))[place]
        start, end = self.ends[k - 1] if k else 0, self.ends[k]
        return Record(int(self.rows[k]), self.keys[k].tobytes(), self.values[start:end].tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


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

    predictions: Sequence[Record] = []
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
