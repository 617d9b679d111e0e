"""Which next items an evaluation asks for: the protocols, apart from any model."""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from model.data import NONE, memory_starts, next_index, stretch_of
from model.log import EventLog, Longs
from model.spec import Ints, ModelSpec

Protocol = Literal["session", "leave-one-out"]
PROTOCOLS: tuple[Protocol, ...] = ("session", "leave-one-out")


class Questions(msgspec.Struct, frozen=True):
    """M item-bearing events to be foretold, in the order of the log."""

    event: Longs  # [M] the event whose item is asked for
    target: Ints  # [M] its item code; codes of cold items cannot be answered
    after: Longs  # [M] the event whose memory answers; NONE: the initial memory
    last_item: Ints  # [M] code of the last item in that memory; NONE without one


def questions_of(
    log: EventLog,
    spec: ModelSpec,
    protocol: Protocol,
    among: npt.NDArray[np.bool_] | None = None,
) -> Questions:
    """The questions of a protocol, of the events ``among`` [N] only where it is given.

    ``session``: every item-bearing event with an earlier event in its session. ``leave-one-out``:
    each user's last item-bearing event, if the user has an earlier event. What a model may look
    at is all that its memory holds then: the session, or the user's past.
    """
    bearing = log.item < spec.no_item
    user = stretch_of(log.session_start[log.user_start], log.events)
    place = np.arange(log.events)
    if protocol == "session":
        first = log.session_start[:-1][stretch_of(log.session_start, log.events)]
        asked = bearing & (place > first)
    else:
        first = log.session_start[log.user_start][:-1][user]
        asked = bearing & (next_index(bearing, user) == NONE) & (place > first)
    if among is not None:
        asked = asked & among
    event = place[asked]
    memory = memory_starts(log, spec)
    begin = memory[:-1][stretch_of(memory, log.events)]  # [N]
    last = np.maximum.accumulate(np.where(bearing, place, NONE))  # [N]
    before = np.append(NONE, last[:-1])[event] if log.events else event
    in_memory = before >= begin[event]
    return Questions(
        event=event,
        target=log.item[event],
        after=np.where(event - 1 >= begin[event], event - 1, NONE),
        last_item=np.where(in_memory, log.item[before], NONE).astype(np.int32),
    )


def heads_asked(
    log: EventLog,
    questions: Questions,
    protocol: Protocol,
    among: npt.NDArray[np.bool_] | None = None,
) -> Longs:
    """The events [P] after which the heads are asked: every one (``among`` [N]) under ``session``,
    and under ``leave-one-out`` the one before each question, since training has seen the others."""
    if protocol == "leave-one-out":
        return questions.event - 1
    return np.arange(log.events) if among is None else np.flatnonzero(among)


def seen_before(log: EventLog, spec: ModelSpec, event: int, user_first: int) -> Ints:
    """Known items that a user met before an event, whatever the session. [n], sorted"""
    past = log.item[user_first:event]
    return np.unique(past[past < spec.item_count])


def part_of(questions: Questions, chosen: slice | Longs) -> Questions:
    """Some of the questions, in the order of ``chosen``."""
    return Questions(
        questions.event[chosen],
        questions.target[chosen],
        questions.after[chosen],
        questions.last_item[chosen],
    )


def newest_items(log: EventLog, spec: ModelSpec, questions: Questions, length: int) -> Ints:
    """The last ``length`` known items that each question's memory holds, newest first, ``NONE``
    where it holds fewer. [M, length]"""
    place = np.flatnonzero(log.item < spec.item_count)
    memory = memory_starts(log, spec)
    begin = memory[:-1][stretch_of(memory, log.events)][questions.event]  # [M]
    newest = np.searchsorted(place, questions.event) - 1  # [M] index into place
    oldest = np.searchsorted(place, begin)  # [M]
    back = newest[:, None] - np.arange(length)  # [M, length]
    items = np.append(log.item[place], NONE)
    return np.where(back >= oldest[:, None], items[np.maximum(back, NONE)], NONE).astype(np.int32)
