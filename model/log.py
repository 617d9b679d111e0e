"""A log of events as columns: what the stream's core writes for training, and training reads."""

import msgspec
import numpy as np
import numpy.typing as npt

from model.spec import Floats, Ints

Longs = npt.NDArray[np.int64]


class EventLog(msgspec.Struct, frozen=True):
    """N events in S sessions of U users. Users are contiguous, a user's sessions follow each other
    in time, and a session's events lie in the order in which the core applied them.

    Session s holds events ``session_start[s] .. session_start[s+1]-1``; user u owns sessions
    ``user_start[u] .. user_start[u+1]-1``. ``closed[s]`` says whether the session's close was
    seen, so that "what comes after its last event" is known to be nothing.
    """

    item: Ints  # [N] item codes as Vocabulary.code gives them
    action: Ints  # [N] action codes
    gap: Ints  # [N] gap codes
    dense: Floats  # [N, F]
    at_ms: Longs  # [N] event time
    session_start: Longs  # [S+1]
    user_start: Longs  # [U+1]
    closed: npt.NDArray[np.bool_]  # [S]
    promoted: npt.NDArray[np.bool_] | None = None  # [N] shown with a promotion; None: nothing was

    @property
    def events(self) -> int:
        return len(self.item)

    @property
    def sessions(self) -> int:
        return len(self.session_start) - 1
