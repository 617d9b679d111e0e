"""What the ends of sessions score, in columns."""

import msgspec
import numpy as np

from stream_app.core.calm import STOPS, UNJUDGED, Marks, Offsets, Verdicts, unjudged
from stream_app.core.entries import Eviction, SessionEnd
from stream_app.core.results import Results


class Closes(msgspec.Struct, frozen=True):
    """By end [N]. Marks know of evictions, but not of alerts: those open and close meanwhile."""

    verdicts: Verdicts
    offsets: Offsets
    marks: Marks


def closes(ends: list[SessionEnd | Eviction], results: Results) -> Closes:
    """Columns of ends; evictions are marked to be judged one by one."""
    scores, offsets, marks = [], [], []
    for end in ends:
        if isinstance(end, Eviction):
            scores.append(0.0)
            offsets.append(-1)
            marks.append(STOPS)
        else:
            scores.append(surprise_of(end, results))
            offsets.append(end.offset)
            marks.append(UNJUDGED if end.fallback else 0)
    verdicts = unjudged(np.array(scores))
    return Closes(verdicts, np.array(offsets, np.int64), np.array(marks, np.uint8))


def surprise_of(end: SessionEnd, results: Results) -> float:
    """How little the end of a session was expected, in nats."""
    if end.previous < 0:
        return end.surprise
    return float(results.close_surprise[results.left_by(end.previous)])
