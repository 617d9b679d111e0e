"""The fast scan in C: ``model/native/scan.c`` on one index."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.scan_index import LANES, RoughTable, ScanIndex
from model.scan_rough import SUM_UNITS, Asked, Rough
from model.spec import Floats

LIBRARY = Path(__file__).parent / "native" / "scan.so"
VERSION = 4
ROWS = 64
"""Rows of one pass: their rough scores stay in the cache until the best are chosen."""

BLOCKS_PER_KEPT = 4
GROUPS_AT_ONCE = 4  # of the widest form; a block that is no multiple of it costs it more
LINE_BYTES = 64


_INPUTS = ("items", "bias", "shift", "query", "slope", "chosen")
_SIZES = ("own_shifts", "groups", "dims", "rows", "block", "taken", "keep")
_SCRATCH = ("scores", "maxima", "list", "visits", "starts", "found", "sums", "found_sums")


class _Scan(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in _INPUTS),
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_void_p) for name in _SCRATCH),
    )


class CompiledForm:
    """Scans one index; owns its scratch."""

    def __init__(self, index: ScanIndex, library: ctypes.CDLL) -> None:
        self._library, self.form = library, library.scan_best_form()
        self._vectors, clusters = _aligned(index.vectors), index.clusters
        self._codes = self._centres = None
        if clusters is None or index.centres is None:
            self._items = _Pass(index.items, index.keep)
        else:
            self._items = _Pass(index.items, index.keep, clusters.block, clusters.taken)
            self._centres = _Pass(index.centres, clusters.taken)
            self._codes = np.ascontiguousarray(clusters.order)

    def __call__(self, queries: Floats, asked: Asked, top: int) -> Rough:
        queries, (rows, width) = np.ascontiguousarray(queries), queries.shape
        skipped, chosen = np.zeros(rows), None
        if self._centres is not None:
            _, skipped = self._centres.run(
                self._library, self.form, asked.query, asked.centre_slope
            )
            chosen = self._centres.found
        scan, scanned = self._items.run(self._library, self.form, asked.query, asked.slope, chosen)
        top_items, top_logits = np.empty((rows, top), np.int32), np.empty((rows, top), np.float32)
        logits = np.empty((rows, self._items.found.shape[1]), np.float32)
        self._library.scan_exact(
            ctypes.byref(scan),
            *(_pointer(self._vectors), _pointer(self._codes), _pointer(queries)),
            *(ctypes.c_int64(width), ctypes.c_int64(top), self.form),
            *map(_pointer, (top_items, top_logits, logits)),
        )
        return Rough(top_items, top_logits, logits, scanned, skipped)


class _Pass:
    """One table of rough rows, and the scratch of a pass over it: fresh pages of memory would cost
    more than the scan of a small batch."""

    def __init__(self, table: RoughTable, keep: int, block: int = 0, taken: int = 0) -> None:
        """Each row names ``taken`` blocks of ``block`` groups; without them it scans all."""
        groups, chunks, lanes, chunk = table.packed.shape
        most = groups // (BLOCKS_PER_KEPT * keep)
        block = block or max(1, most // GROUPS_AT_ONCE) * GROUPS_AT_ONCE
        blocks = -(-groups // block)
        taken = taken or blocks
        width = taken * block * lanes
        self._packed, self._bias = _aligned(table.packed), _aligned(table.bias)
        self._shift = _aligned(table.shift)
        self._sizes = (int(len(table.shift) > LANES), groups, chunks * chunk)
        self._ends = (block, taken, keep)
        self.found = np.empty((ROWS, keep), np.int32)
        self._scratch = (
            np.empty((ROWS, width), np.int32),
            np.empty((ROWS, taken, lanes), np.int32),
            np.empty((3, width), np.int32),
            np.empty((ROWS * taken, 2), np.int32),
            np.empty(blocks + 1, np.int32),
            self.found,
        )

    def run(
        self,
        library: ctypes.CDLL,
        form: int,
        query: npt.NDArray[np.uint8],
        slope: Floats,
        chosen: npt.NDArray[np.int32] | None = None,
    ) -> tuple[_Scan, npt.NDArray[np.float64]]:
        """Fill ``found``; the rough share of what was scanned and not found, [B]."""
        rows = len(query)
        sums, found_sums = np.empty((rows, LANES), np.float32), np.empty(rows, np.int64)
        scan = _Scan(
            *map(_address, (self._packed, self._bias, self._shift, query, slope, chosen)),
            *(*self._sizes, rows, *self._ends),
            *map(_address, (*self._scratch, sums, found_sums)),
        )
        library.scan_rough(ctypes.byref(scan), form)
        rest = sums.astype(np.float64).sum(axis=1) - found_sums / SUM_UNITS  # [B]
        return scan, np.maximum(rest, 0.0)


def _aligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy that begins at a cache line: loads across two lines take twice as long."""
    store = np.empty(array.nbytes + LINE_BYTES, np.uint8)
    start = -store.ctypes.data % LINE_BYTES
    copy = store[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _address(array: npt.NDArray[Any] | None) -> int | None:
    return None if array is None else array.ctypes.data


def _pointer(array: npt.NDArray[Any] | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(_address(array))


@cache
def library() -> ctypes.CDLL | None:
    """None where this installation has no compiled form, or that of another version."""
    if not LIBRARY.exists():
        return None
    found = ctypes.CDLL(str(LIBRARY))
    return found if found.scan_version() == VERSION else None
