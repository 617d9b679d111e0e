"""Hold out the newest sessions of a log, or each user's last item, to measure on what training has
not seen."""

import msgspec
import numpy as np
import numpy.typing as npt

from model.data import NONE, stretch_of
from model.log import EventLog
from model.spec import ModelSpec


class Holdout(msgspec.Struct, frozen=True):
    """The early part as a log of its own; the whole log, with its late events marked.

    The whole log stays together, since a late session is foretold from its user's early ones where
    memory runs on.
    """

    early: EventLog
    late: npt.NDArray[np.bool_]  # [N] events of the whole log that are held out


def share_of(count: int, sessions: int) -> float:
    """The share that ``hold_out`` takes to hold out ``count`` of so many sessions: half a session
    more than they are, since it rounds down."""
    return (count + 0.5) / sessions


def hold_out(log: EventLog, share: float) -> Holdout:
    """Split off the ``share`` of the sessions that begin last (all ties in the log's order).

    A user's late sessions follow the early ones, so that no early session is learned with
    knowledge of a later one.
    """
    begins = log.at_ms[log.session_start[:-1]]  # [S]
    order = np.argsort(begins, kind="stable")
    keep = np.ones(log.sessions, bool)
    keep[order[log.sessions - int(log.sessions * share) :]] = False
    return Holdout(
        early=with_sessions(log, keep), late=~keep[stretch_of(log.session_start, log.events)]
    )


def hold_out_last(log: EventLog, spec: ModelSpec) -> Holdout:
    """Split off each user's last event with an item, and what follows it; users whose first event
    that is keep all: nothing could be asked of them."""
    place = np.arange(log.events)
    bounds = log.session_start[log.user_start]
    user = stretch_of(bounds, log.events)
    last = np.full(len(bounds) - 1, NONE)
    bearing = log.item < spec.no_item
    np.maximum.at(last, user[bearing], place[bearing])
    late = (last[user] > bounds[:-1][user]) & (place >= last[user])
    return Holdout(early=with_events(log, ~late), late=late)


def with_sessions(log: EventLog, keep: npt.NDArray[np.bool_]) -> EventLog:
    """The log of the sessions ``keep`` [S] alone; users left without one vanish."""
    return with_events(log, keep[stretch_of(log.session_start, log.events)])


def with_events(log: EventLog, keep: npt.NDArray[np.bool_]) -> EventLog:
    """The log of the events ``keep`` [N] alone; sessions and users left without one vanish.

    How a session went on that has lost its last event is unknown: it is not closed.
    """
    session = stretch_of(log.session_start, log.events)
    length = np.bincount(session[keep], minlength=log.sessions)
    stays = length > 0  # [S]
    user_sessions = np.diff(np.append(0, np.cumsum(stays))[log.user_start])
    cut = np.zeros(log.sessions, bool)
    cut[stays] = ~keep[log.session_start[1:][stays] - 1]
    return EventLog(
        item=log.item[keep],
        action=log.action[keep],
        gap=log.gap[keep],
        dense=log.dense[keep],
        at_ms=log.at_ms[keep],
        session_start=np.append(0, np.cumsum(length[stays])),
        user_start=np.append(0, np.cumsum(user_sessions[user_sessions > 0])),
        closed=(log.closed & ~cut)[stays],
        promoted=None if log.promoted is None else log.promoted[keep],
    )
