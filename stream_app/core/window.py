"""The rolling window of a user: the last L events in a ring, read in event time.

Times are integer milliseconds and windows are half-open: an event lies in the window of width w
that ends at t when ``t - w < at <= t``. The ring keeps arrival order; a late event is put in like
any other, with its own time.
"""

import numpy as np
import numpy.typing as npt

from stream_app.core.state import ID_HIGH_HASH, Rows

# The ring stores 32-bit offsets from a base. The base leaves room below the first event for late
# ones, and moves up when an event comes close to the top.
_BASE_BEFORE_MS = 1 << 31
_TOP_MS = (1 << 32) - 1


def insert(
    rows: Rows,
    at_ms: npt.NDArray[np.int64],
    item: npt.NDArray[np.uint32],
    action: npt.NDArray[np.uint8],
    id_hash: npt.NDArray[np.uint64],
) -> npt.NDArray[np.intp]:
    """Put one event into each of B gathered rows, in place; returns its place in each ring [B]."""
    fresh = rows["used"] == 0
    rows["ring_base_ms"] = np.where(fresh, at_ms - _BASE_BEFORE_MS, rows["ring_base_ms"])
    _rebase(rows, at_ms)
    place = rows["next"].astype(np.intp)
    lane = np.arange(len(rows))
    ring = rows["ring"]
    ring["at"][lane, place] = np.maximum(at_ms - rows["ring_base_ms"], 0)
    ring["item"][lane, place] = item
    ring["action"][lane, place] = action
    ring["id_low"][lane, place] = id_hash & 0xFFFFFFFF
    ring["id_high"][lane, place] = id_hash >> np.uint64(32) & np.uint64(ID_HIGH_HASH)
    length = ring.shape[1]
    rows["next"] = (place + 1) % length
    rows["used"] = np.minimum(rows["used"].astype(np.int64) + 1, length)
    return place


def _rebase(rows: Rows, at_ms: npt.NDArray[np.int64]) -> None:
    """Move the base up where an event would not fit above it. Entries that fall below the new base
    are clipped to it: they are weeks older than any window."""
    high = np.flatnonzero(at_ms - rows["ring_base_ms"] > _TOP_MS)
    for lane in high.tolist():
        base = int(at_ms[lane]) - _BASE_BEFORE_MS
        moved = rows["ring"]["at"][lane].astype(np.int64) + int(rows["ring_base_ms"][lane]) - base
        rows["ring"]["at"][lane] = np.maximum(moved, 0)
        rows["ring_base_ms"][lane] = base


def times_ms(rows: Rows) -> npt.NDArray[np.int64]:
    """Event times of B rings in ring order [B, L]; unused places hold the base."""
    return np.asarray(rows["ring"]["at"].astype(np.int64) + rows["ring_base_ms"][:, None])


def used(rows: Rows) -> npt.NDArray[np.bool_]:
    """Which places of B rings hold an event [B, L]."""
    return np.asarray(np.arange(rows["ring"].shape[1]) < rows["used"][:, None])


def within(
    times: npt.NDArray[np.int64],
    filled: npt.NDArray[np.bool_],
    now_ms: npt.NDArray[np.int64],
    width_ms: int,
) -> npt.NDArray[np.bool_]:
    """Which of the events [B, L] lie in the window of ``width_ms`` that ends at ``now_ms`` [B]."""
    now = now_ms[:, None]
    return np.asarray(filled & (times > now - width_ms) & (times <= now))
