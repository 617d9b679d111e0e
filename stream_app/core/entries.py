"""What pass 1 hands on: the batch's happenings in order, and columns of the model's steps."""

from typing import NamedTuple

import msgspec

from stream_app.core.alerts import Alert
from stream_app.core.clean import Click, Rejected


class Refusal(NamedTuple):
    batch_row: int
    rejected: Rejected


class StepAt(NamedTuple):
    number: int


class Expectation(NamedTuple):
    """What the model expected before something happened: action codes with log-probabilities."""

    actions: list[int]
    logps: list[float]


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
    expected: Expectation
    fallback: bool  # most items are unknown to the model: its surprise means nothing


class Eviction(NamedTuple):
    """A user who leaves the state, with the alert and the session still open then."""

    batch_row: int
    pseudonym: bytes
    at_ms: int
    offset: int
    alert: Alert
    session: SessionEnd | None


Entry = Refusal | StepAt | SessionEnd | Eviction


class Late(NamedTuple):
    """What pass 1 found of an event that is older than its user's newest one."""

    next_starts: bool  # whether the event behind it in time starts a session, now that it is there
    newest: int  # step of this pass that is the user's newest event, -1: one of an earlier pass
    newest_ms: int
    newest_item: int  # item hash of the session's newest item, the late one counted; 0: none
    corrections: int  # of the newest event's prediction in this pass, this one counted


class Steps(msgspec.Struct):
    """Columns of the accepted events, one entry per step of the model."""

    batch_row: list[int] = []
    row: list[int] = []
    round: list[int] = []  # how many events of the same user come before it in this pass
    at_ms: list[int] = []
    gap_ms: list[int] = []  # since the user's event before; -1: none that counts, or late
    dwell_ms: list[int] = []  # -1: unknown
    position: list[int] = []  # events of the session at hand so far
    total: list[int] = []  # events of the user so far
    starts: list[bool] = []  # first of its session
    item: list[int] = []  # item code
    action: list[int] = []  # action code
    item_hash: list[int] = []
    id_hash: list[int] = []
    source_item: list[int] = []  # item hash of the session's newest item before; 0: none
    fallback: list[bool] = []
    click: list[Click] = []
    pseudonym: list[bytes] = []
    late: dict[int, Late] = {}  # by step, in order
