"""From a log of events to what a net learns from it: targets per event, and sequences to read.

Everything is a pure function of the log, the spec and a seed, so that a run that was killed can
take up its work at any batch.
"""

from collections.abc import Sequence
from typing import ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from model.log import EventLog, Longs
from model.spec import CLOSE, Floats, Ints, ModelSpec, fingerprint_of

NONE = -1
INTENTS = ("cart", "purchase")


class DataError(ValueError):
    """A log cannot be learned from, or contradicts the spec it is said to follow."""

    exit_code: ClassVar[int] = 2


class Targets(msgspec.Struct, frozen=True):
    """What the memory after each of N events should foretell; ``NONE`` where there is no answer."""

    item: Ints  # [N] code of the next known item
    action: Ints  # [N] code of the next action of the session, CLOSE after its last event
    intent: Ints  # [N, 2] 1 if a cart event (a purchase) follows in the session, else 0
    gap: Ints  # [N] next gap code - 1


class Segments(msgspec.Struct, frozen=True):
    """R stretches of events to read from an initial memory; the first ones may be context only."""

    start: Longs  # [R] first event read
    scored: Longs  # [R] first event whose targets count
    stop: Longs  # [R] one past the last event
    fresh: npt.NDArray[np.bool_]  # [R] nothing precedes ``start`` in the user's memory

    @property
    def lengths(self) -> Longs:
        return self.stop - self.start


def check_log(log: EventLog, spec: ModelSpec, items: Sequence[str]) -> None:
    """Raise DataError unless the log's columns agree with each other and with the spec."""
    if len(items) != spec.item_count:
        raise DataError(f"the spec counts {spec.item_count} items, {len(items)} are given")
    columns = (log.item, log.action, log.gap, log.at_ms, log.dense)
    if any(len(column) != log.events for column in columns):
        raise DataError(f"the log's columns differ in length: {[len(c) for c in columns]}")
    if log.dense.shape != (log.events, len(spec.features)):
        raise DataError(
            f"dense features have the shape {log.dense.shape}, "
            f"the spec asks for {(log.events, len(spec.features))}"
        )
    if log.promoted is not None and len(log.promoted) != log.events:
        raise DataError(f"{log.events} events, but {len(log.promoted)} marks of a promotion")
    if len(log.closed) != log.sessions:
        raise DataError(f"{log.sessions} sessions, but {len(log.closed)} marks of their close")
    _check_bounds("session_start", log.session_start, log.events)
    _check_bounds("user_start", log.user_start, log.sessions)
    for name, codes, count in (
        ("item", log.item, spec.input_count),
        ("action", log.action, len(spec.actions)),
        ("gap", log.gap, spec.gap_count),
    ):
        if log.events and not 0 <= int(codes.min()) <= int(codes.max()) < count:
            raise DataError(
                f"{name} codes run from {codes.min()} to {codes.max()}, "
                f"the spec allows 0 to {count - 1}"
            )
    if not np.isfinite(log.dense).all():
        raise DataError("a dense feature is NaN or infinite; the core must fold such values")


def _check_bounds(name: str, bounds: Longs, count: int) -> None:
    if len(bounds) == 0 or bounds[0] != 0 or bounds[-1] != count or (np.diff(bounds) < 0).any():
        raise DataError(f"{name} must rise from 0 to {count}")


def data_hash(log: EventLog, items: Sequence[str]) -> str:
    """Names the exact training data: 16 hex digits over the log's columns and the vocabulary."""
    columns = {name: getattr(log, name) for name in log.__struct_fields__}
    columns = {name: column for name, column in columns.items() if column is not None}
    nothing = ModelSpec(name="data", item_count=1, hidden_width=1, top_k=1)
    return fingerprint_of(nothing, items, columns).hex()


def memory_starts(log: EventLog, spec: ModelSpec) -> Longs:
    """Bounds of the stretches over which memory runs on: sessions, or whole users. [M+1]"""
    return log.session_start if spec.reset_at_session else log.session_start[log.user_start]


def stretch_of(bounds: Longs, events: int) -> Longs:
    """The index of the stretch that each event lies in, [N]."""
    return np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))[:events]


def next_index(marked: npt.NDArray[np.bool_], stretch: Longs) -> Longs:
    """For each event the next marked one of its stretch, NONE without one. [N]"""
    count = len(marked)
    places = np.where(marked, np.arange(count), count)
    at_or_after = np.minimum.accumulate(places[::-1])[::-1]  # [N]
    after = np.append(at_or_after, count)[1:]  # [N]
    found = after < count
    found[found] = stretch[after[found]] == stretch[found]
    return np.where(found, after, NONE)


def targets_of(log: EventLog, spec: ModelSpec) -> Targets:
    """Targets of every event.

    The next item is looked for as far as memory runs: in the session where the spec resets memory
    there, else in the user's later sessions too. Actions, intents and gaps are the session's own.
    Cold items are no targets. What a session that was not seen to close would still have brought
    is unknown, so its last action and its intents have none.
    """
    session = stretch_of(log.session_start, log.events)
    memory = stretch_of(memory_starts(log, spec), log.events)
    bearing = next_index(log.item < spec.no_item, memory)
    item = np.where(bearing != NONE, log.item[bearing], NONE)
    item[item >= spec.item_count] = NONE
    following = next_index(np.ones(log.events, bool), session)
    closed = log.closed[session]
    at_end = np.where(closed, CLOSE, NONE)
    action = np.where(following != NONE, log.action[following], at_end)
    gap = np.where(following != NONE, log.gap[following] - 1, NONE)  # gap code 0 becomes NONE
    intent = np.full((log.events, len(INTENTS)), NONE)
    for column, name in enumerate(INTENTS):
        if name in spec.actions:
            done = log.action == spec.actions.index(name)
            intent[closed, column] = next_index(done, session)[closed] != NONE
    return Targets(*(a.astype(np.int32) for a in (item, action, intent, gap)))


def recency_weights(log: EventLog, halving: float) -> Floats | None:
    """Weights of the events [N], of mean 1 over the sessions: a session weighs half as much as one
    after which the share ``halving`` of the sessions has begun. None for 0: all weigh 1."""
    if halving == 0:
        return None
    order = np.argsort(log.at_ms[log.session_start[:-1]], kind="stable")
    age = np.empty(log.sessions)
    age[order] = np.arange(log.sessions)[::-1] / max(1, log.sessions)
    weight = 0.5 ** (age / halving)  # [S]
    session = stretch_of(log.session_start, log.events)
    weights: Floats = (weight / weight.mean())[session].astype(np.float32)
    return weights


def segments_of(log: EventLog, spec: ModelSpec, max_length: int) -> Segments:
    """Cut the log into stretches of at most ``max_length`` events.

    A longer memory is cut into overlapping ones whose first half is context: read, not scored, so
    that each event's targets count once and most of them with a long enough past.
    """
    bounds = memory_starts(log, spec)
    first, last = bounds[:-1], bounds[1:]
    context = max_length // 2
    stride = max_length - context
    pieces = 1 + np.maximum(0, -(-(last - first - max_length) // stride))
    pieces[last == first] = 0
    memory = np.repeat(np.arange(len(first)), pieces)
    number = np.arange(len(memory)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start = first[memory] + number * stride
    fresh = number == 0
    return Segments(
        start=start,
        scored=np.where(fresh, start, start + context),
        stop=np.minimum(start + max_length, last[memory]),
        fresh=fresh,
    )


def epoch_batches(
    lengths: Longs, sequences: int, events: int, seed: int, epoch: int
) -> list[Longs]:
    """Indices of segments in batches of up to ``sequences``, shuffled; a pure function of its
    arguments.

    Batches hold segments of like length, so that little is padded, and at most about ``events``
    padded events, so that memory is bounded.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    pool = 64 * sequences
    batches: list[Longs] = []
    for begin in range(0, len(order), pool):
        near = order[begin : begin + pool]
        near = near[np.argsort(lengths[near], kind="stable")]
        while len(near):
            fits = np.arange(1, len(near) + 1) * lengths[near] <= events
            size = min(sequences, max(1, int(np.argmin(np.append(fits, False)))))
            batches.append(near[:size])
            near = near[size:]
    return [batches[place] for place in rng.permutation(len(batches))]


def padded_places(start: Longs, lengths: Longs) -> tuple[Longs, npt.NDArray[np.bool_]]:
    """Event indices of stretches side by side, and which of them are real: both [B, T].

    Padding stands at the end and repeats the stretch's last event: a causal net never looks there.
    """
    column = np.arange(int(lengths.max()))
    real = column < lengths[:, None]
    return start[:, None] + np.minimum(column, lengths[:, None] - 1), real
