"""What the model sees of an event besides its item: behaviour in the window, and time.

Every value comes from integer counts, exact divisions and lookup tables, so that a row has the same
bits in a batch of one and in a batch of a thousand.
"""

from bisect import bisect_right
from functools import lru_cache
from math import cos, pi, sin

import msgspec
import numpy as np
import numpy.typing as npt

from model.spec import ModelSpec, SpecError
from stream_app.core.state import ACTION_CODE

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday, Monday is 0

TIME_FEATURES = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
BEHAVIOUR_FEATURES = ("dwell", "interval", "burst", "repeat_share", "session_position")
SHARE_PREFIX = "share_"

# Log-spaced interval edges: 1 s to a month for gaps, counts for bursts and positions.
GAP_EDGES_MS: tuple[int, ...] = (1_000, 3_000, 10_000, 30_000, 60_000, 180_000, 600_000, 1_800_000)
GAP_EDGES_MS += (3_600_000, 6 * HOUR_MS, DAY_MS, 3 * DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
DURATION_EDGES_MS = np.array(GAP_EDGES_MS, np.int64)
_COUNT_EDGES = np.array((1, 2, 3, 5, 8, 13, 21, 34), np.int64)
# The feature's value by dwell code.
_DWELL = np.array([0, *(n / len(GAP_EDGES_MS) for n in range(len(GAP_EDGES_MS) + 1))], np.float32)

_HOUR = np.array([(sin(2 * pi * h / 24), cos(2 * pi * h / 24)) for h in range(24)], np.float32)
_WEEKDAY = np.array([(sin(2 * pi * d / 7), cos(2 * pi * d / 7)) for d in range(7)], np.float32)


def names(actions: tuple[str, ...]) -> tuple[str, ...]:
    """Every feature that can be asked for with these actions."""
    shares = tuple(SHARE_PREFIX + action for action in actions[1:])
    return TIME_FEATURES + BEHAVIOUR_FEATURES + shares


def check(spec: ModelSpec) -> None:
    """SpecError when the spec asks for a feature that does not exist."""
    unknown = sorted(set(spec.features) - set(names(spec.actions)))
    if unknown:
        raise SpecError(
            f"unknown features {', '.join(unknown)}; known are {', '.join(names(spec.actions))}"
        )


@lru_cache(maxsize=8)
def compiled_form(spec: ModelSpec) -> tuple[npt.NDArray[np.generic], ...]:
    """What the loops in C make the same features of: (kind, action) of each [F, 2], then tables."""
    kinds = TIME_FEATURES + BEHAVIOUR_FEATURES
    asked = np.zeros((len(spec.features), 2), np.int32)
    for place, name in enumerate(spec.features):
        if name in kinds:
            asked[place] = kinds.index(name), 0
        else:
            asked[place] = len(kinds), spec.actions.index(name.removeprefix(SHARE_PREFIX))
    edges = np.array(spec.gap_edges_ms, np.int64)
    return asked, _HOUR, _WEEKDAY, _DWELL, DURATION_EDGES_MS, _COUNT_EDGES, edges


def gap_codes(gap_ms: npt.NDArray[np.int64], spec: ModelSpec) -> npt.NDArray[np.int32]:
    """Codes of gaps [B]: 0 where there is no previous event (negative gap), else 1 + interval."""
    edges = np.array(spec.gap_edges_ms, np.int64)
    codes = 1 + np.searchsorted(edges, gap_ms, side="right")
    return np.where(gap_ms < 0, 0, codes).astype(np.int32)


def dwell_code(dwell_ms: int) -> int:
    """A dwell time as the ring keeps it, in 4 bits: 0 where the event names none (negative), else
    1 + place among the duration edges."""
    return 0 if dwell_ms < 0 else 1 + bisect_right(GAP_EDGES_MS, dwell_ms)


class Moment(msgspec.Struct, frozen=True):
    """B events, each with the ring that holds it and those before it."""

    items: npt.NDArray[np.uint32]  # [B, L] hashes of the ring's items, 0: none
    marks: npt.NDArray[np.uint8]  # [B, L] action codes with session marks
    times: npt.NDArray[np.int64]  # [B, L]
    inside: npt.NDArray[np.bool_]  # [B, L] which lie in the window, the event itself does
    item: npt.NDArray[np.uint32]  # [B] the event's own hash
    at_ms: npt.NDArray[np.int64]  # [B] its time
    dwell: npt.NDArray[np.uint8]  # [B] its dwell code
    position: npt.NDArray[np.int64]  # [B] 1-based place in its session


def dense(spec: ModelSpec, moment: Moment, burst_ms: int) -> npt.NDArray[np.float32]:
    """Feature rows [B, len(spec.features)]; each event counts as part of its own window."""
    out = np.zeros((len(moment.at_ms), len(spec.features)), np.float32)  # [B, F]
    if not spec.features:
        return out
    count = moment.inside.sum(axis=1)  # [B], at least 1
    for column, name in enumerate(spec.features):
        if name in TIME_FEATURES:
            out[:, column] = _time(name, moment.at_ms)
        elif name.startswith(SHARE_PREFIX):
            action = spec.actions.index(name.removeprefix(SHARE_PREFIX))
            same = (moment.marks & ACTION_CODE) == action
            out[:, column] = _share((moment.inside & same).sum(axis=1), count)
        else:
            out[:, column] = _behaviour(name, moment, count, burst_ms)
    return out


def _time(name: str, at_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    is_cosine = int(name.endswith("_cos"))
    if name.startswith("hour"):
        cycle, place = _HOUR, (at_ms % DAY_MS) // HOUR_MS
    else:
        cycle, place = _WEEKDAY, (at_ms // DAY_MS + _EPOCH_WEEKDAY) % 7
    return np.asarray(cycle[place, is_cosine])


def _behaviour(
    name: str, moment: Moment, count: npt.NDArray[np.int64], burst_ms: int
) -> npt.NDArray[np.float32]:
    inside, times = moment.inside, moment.times
    match name:
        case "dwell":
            return np.asarray(_DWELL[moment.dwell])
        case "interval":
            first = np.where(inside, times, np.int64(1 << 62)).min(axis=1)
            span = np.where(inside, times, 0).max(axis=1) - first
            return _scaled(span // np.maximum(count - 1, 1), DURATION_EDGES_MS)
        case "burst":
            recent = inside & (times > moment.at_ms[:, None] - burst_ms)
            return _scaled(recent.sum(axis=1), _COUNT_EDGES)
        case "repeat_share":
            own = moment.item[:, None]
            same = (inside & (moment.items == own) & (own != 0)).sum(axis=1)
            return _share(np.maximum(same - 1, 0), count)
        case _:
            return _scaled(moment.position, _COUNT_EDGES)


def _scaled(values: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Place of each value among log-spaced edges, from 0 to 1."""
    place = np.searchsorted(edges, values, side="right")
    return (place / len(edges)).astype(np.float32)


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    return (part / whole).astype(np.float32)
