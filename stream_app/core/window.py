"""The rolling window of a user: the last L events in a ring, in event time.

Times are integer milliseconds and windows are half-open: an event lies in the window of width w
that ends at t when ``t - w < at <= t``. The ring is in event-time order, equal times in order of
arrival: rank 0 is the oldest event, and a late one is put in at its place.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core.state import DWELL_SHIFT, ID_HIGH_HASH, Rows

# The ring stores 32-bit offsets from a base. The base leaves room below the first event for late
# ones, and moves up when an event comes close to the top.
_BASE_BEFORE_MS = 1 << 31
_TOP_MS = (1 << 32) - 1


class Arrivals(NamedTuple):
    """One event for each of B rings."""

    at_ms: npt.NDArray[np.int64]
    item_hash: npt.NDArray[np.uint32]  # 0: no item
    mark: npt.NDArray[np.uint8]  # action code with session marks
    id_hash: npt.NDArray[np.uint64]
    dwell: npt.NDArray[np.uint8]  # code


def arrivals(event: Mapping[str, Any]) -> Arrivals:
    """The columns of pass 2 that a ring keeps."""
    return Arrivals(*(event[name] for name in Arrivals._fields))


def insert(rows: Rows, new: Arrivals) -> npt.NDArray[np.intp]:
    """Put an event that is not late into each of B gathered rows, in place; returns where in each
    ring it lies [B]."""
    fresh, at_ms = rows["used"] == 0, new.at_ms
    rows["ring_base_ms"] = np.where(fresh, at_ms - _BASE_BEFORE_MS, rows["ring_base_ms"])
    _rebase(rows, at_ms)
    place = rows["next"].astype(np.intp)
    _write(rows, place, new)
    _count(rows)
    return place


def insert_late(rows: Rows, new: Arrivals) -> npt.NDArray[np.intp]:
    """Put an event that is older than the newest of its ring into each of B gathered rows, in
    place; returns its rank [B]. A full ring gives up its oldest event, which must not be newer
    than the late one: such an event is refused before."""
    length, lane = rows["ring"].shape[1], np.arange(len(rows))
    filled, places = used(rows), by_rank(rows)  # [B, L]: by place, by rank
    full: npt.NDArray[np.bool_] = np.logical_and.reduce(filled, axis=1)
    older = (filled & (times_ms(rows) <= new.at_ms[:, None])).sum(axis=1)
    rank: npt.NDArray[np.intp] = older - full  # [B]
    ranks = np.arange(length)
    source = ranks + full[:, None] - (ranks > rank[:, None])  # [B, L] rank before
    moved = rows["ring"][lane[:, None], places[lane[:, None], np.clip(source, 0, length - 1)]]
    _count(rows)
    places = by_rank(rows)
    rows["ring"][lane[:, None], places] = moved
    _write(rows, places[lane, rank], new)
    return rank


def by_rank(rows: Rows) -> npt.NDArray[np.intp]:
    """Places in B rings by rank, oldest event first [B, L]; ranks from ``used`` on are empty."""
    length = rows["ring"].shape[1]
    oldest = rows["next"].astype(np.intp) - rows["used"].astype(np.intp)
    return np.asarray((oldest[:, None] + np.arange(length)) % length)


def _write(rows: Rows, place: npt.NDArray[np.intp], new: Arrivals) -> None:
    lane, ring = np.arange(len(rows)), rows["ring"]
    ring["at"][lane, place] = np.maximum(new.at_ms - rows["ring_base_ms"], 0)
    ring["item"][lane, place] = new.item_hash
    ring["action"][lane, place] = new.mark
    ring["id_low"][lane, place] = new.id_hash & 0xFFFFFFFF
    high = (new.id_hash >> np.uint64(32)).astype(np.uint16) & ID_HIGH_HASH
    ring["id_high"][lane, place] = high | new.dwell.astype(np.uint16) << DWELL_SHIFT


def _count(rows: Rows) -> None:
    length = rows["ring"].shape[1]
    rows["next"] = (rows["next"].astype(np.intp) + 1) % length
    rows["used"] = np.minimum(rows["used"].astype(np.int64) + 1, length)


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
