"""Hold out the newest sessions of a log, to measure on what training has not seen."""

import msgspec
import numpy as np
import numpy.typing as npt

from model.data import stretch_of
from model.log import EventLog


class Holdout(msgspec.Struct, frozen=True):
    """The early part as a log of its own; the whole log, with its late events marked.

    The whole log stays together, since a late session is foretold from its user's early ones where
    memory runs on.
    """

    early: EventLog
    late: npt.NDArray[np.bool_]  # [N] events of the whole log that lie in late sessions


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


def with_sessions(log: EventLog, keep: npt.NDArray[np.bool_]) -> EventLog:
    """The log of the sessions ``keep`` [S] alone; users left without one vanish."""
    session_length = np.diff(log.session_start)
    user_sessions = np.diff(np.append(0, np.cumsum(keep))[log.user_start])
    events = keep[stretch_of(log.session_start, log.events)]
    return EventLog(
        item=log.item[events],
        action=log.action[events],
        gap=log.gap[events],
        dense=log.dense[events],
        at_ms=log.at_ms[events],
        session_start=np.append(0, np.cumsum(session_length[keep])),
        user_start=np.append(0, np.cumsum(user_sessions[user_sessions > 0])),
        closed=log.closed[keep],
    )
