"""What pass 1 hands on: the batch's happenings in order, and columns of the model's steps."""

from struct import Struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core.alerts import Alert
from stream_app.core.clean import Click, Rejected


class Refusal(NamedTuple):
    batch_row: int
    rejected: Rejected


class StepAt(NamedTuple):
    number: int


class SessionEnd(NamedTuple):
    """A session that is over. ``previous`` is the step of this pass that came last in it; -1 where
    that was in an earlier one, and then ``surprise`` and ``expected`` are what it left behind."""

    batch_row: int
    pseudonym: bytes
    row: int
    at_ms: int
    offset: int  # of the session's last event
    events: int
    previous: int
    surprise: float
    expected: bytes  # codes of the likeliest actions as bytes, then their log-probabilities
    fallback: bool  # most items are unknown to the model: its surprise means nothing


class Eviction(NamedTuple):
    """A user who leaves the state, with the alert and the session still open then."""

    batch_row: int
    pseudonym: bytes
    at_ms: int
    offset: int
    alert: Alert
    session: SessionEnd | None


Other = Refusal | SessionEnd | Eviction
Entry = StepAt | Other


class Late(NamedTuple):
    """What pass 1 found of an event that is older than its user's newest one."""

    next_starts: bool  # whether the event behind it in time starts a session, now that it is there
    newest: int  # step of this pass that is the user's newest event, -1: one of an earlier pass
    newest_ms: int
    newest_item: int  # item hash of the session's newest item, the late one counted; 0: none
    corrections: int  # of the newest event's prediction in this pass, this one counted


class Step(NamedTuple):
    """An accepted event."""

    at_ms: int
    gap_ms: int  # since the user's event before; -1: none that counts, or late
    position: int  # events of the session at hand so far
    total: int  # events of the user so far
    row: int
    round: int  # how many events of the same user come before it in this pass
    batch_row: int
    before: int  # the same user's step before it in this pass, -1: none
    offset: int
    id_hash: int
    item: int  # item code
    item_hash: int
    source_item: int  # item hash of the session's newest item before; 0: none
    dwell_ms: int  # -1: unknown
    mark: int  # action code with session marks, as the ring keeps it
    dwell: int  # code, as the ring keeps it
    starts: bool  # first of its session
    fallback: bool
    pseudonym: bytes


# A step as it lies in a table; the loops in C know it as a struct.
_PACKING = Struct("<9qQi2Ii2B2?4x16s")
TABLE = np.dtype(
    {
        "names": Step._fields,
        "formats": [*["<i8"] * 9, "<u8", "<i4", "<u4", "<u4", "<i4", "u1", "u1", "?", "?", "V16"],
        "offsets": [*range(0, 80, 8), 80, 84, 88, 92, 96, 97, 98, 99, 104],
        "itemsize": _PACKING.size,
    }
)


class Steps:
    """The accepted events of a pass in order: a table, and what does not fit a table beside it."""

    def __init__(self) -> None:
        self.table = bytearray()
        self.click: list[Click] = []
        self.late: dict[int, Late] = {}  # by step, in order
        self._columns: npt.NDArray[np.void] | None = None

    def __len__(self) -> int:
        return len(self.click)

    def __getitem__(self, k: int) -> Step:
        return Step(*_PACKING.unpack_from(self.table, k * _PACKING.size))

    def add(self, step: Step, click: Click) -> None:
        """Add a step. Not after somebody has asked for columns."""
        self.table += _PACKING.pack(*step)
        self.click.append(click)

    @property
    def columns(self) -> npt.NDArray[np.void]:
        """All steps by name of the field [N]."""
        if self._columns is None:
            self._columns = np.frombuffer(self.table, TABLE)
        return self._columns

    def of(self, name: str) -> list[int]:
        """A column as a list of numbers."""
        numbers: list[int] = self.columns[name].tolist()
        return numbers

    @property
    def pseudonym(self) -> list[bytes]:
        whole = self.columns["pseudonym"].tobytes()
        return [whole[start : start + 16] for start in range(0, len(whole), 16)]
