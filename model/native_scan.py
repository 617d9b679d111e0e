"""The fast scan: the best K items and the log-normaliser of a batch of queries.

Two forms with the same bits: the compiled one of ``model/native/scan.c``, and numpy where that was
not built (an order of magnitude slower). A row's result does not depend on the rows beside it.
"""

import ctypes
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.scan_index import (
    BITS_PER_NAT,
    LANES,
    LINE_SHIFT,
    ONE_BITS,
    QUERY_OFFSET,
    QUERY_STEPS,
    ScanIndex,
)
from model.spec import Floats, Ints

LIBRARY = Path(__file__).parent / "native" / "scan.so"
VERSION = 2
ROWS = 64
"""Rows of one pass: their rough scores stay in the cache until the best are chosen."""

BLOCKS_PER_KEPT = 4
GROUPS_AT_ONCE = 4  # of the widest form; a block that is no multiple of it costs it more
LINE_BYTES = 64
_SUM_UNITS = float(1 << 40)


Bytes = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]


class Found(NamedTuple):
    """The result of a scan of B queries."""

    top_items: Ints  # [B, K] best first, ties by lowest code
    top_logits: Floats  # [B, K]
    log_z: Floats  # [B]
    exact: Doubles  # [B] share of exp(log_z - largest) of the items that were scored exactly
    rest: Doubles  # [B] rough share of all others, without the correction


class Rough(NamedTuple):
    """What both forms find before the log-normaliser is put together from it."""

    top_items: Ints  # [B, K]
    top_logits: Floats  # [B, K]
    logits: Floats  # [B, keep] exact ones of the best rough items, in any order
    replaced: npt.NDArray[np.int64]  # [B] rough exps of the same, in units of 2 ** -40
    sums: Floats  # [B, LANES] rough exps of all items by lane


class _Scan(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("items", "bias", "query", "slope")),
        ("shift", ctypes.c_float),
        *((name, ctypes.c_int64) for name in ("groups", "dims", "rows", "block", "keep")),
        *((name, ctypes.c_void_p) for name in ("scores", "maxima", "list", "found", "sums")),
    )


class ItemScan:
    """Scans one index. One thread at a time may use it: it owns its scratch."""

    def __init__(self, index: ScanIndex, compiled: bool | None = None) -> None:
        """``compiled`` False asks for the numpy form; None takes the compiled one if it is there.
        RuntimeError where it is asked for and was not built."""
        library = None if compiled is False else _library()
        if compiled and library is None:
            raise RuntimeError(f"{LIBRARY} was not built; install with a C compiler at hand")
        self.index = index
        self._rough = NumpyForm(index) if library is None else CompiledForm(index, library)

    def find(self, queries: Floats, along: Floats, top: int) -> Found:
        """The ``top`` best items and log Z of unit queries [B, H] with ``along`` = queries @
        directions [B, D]; ``top <= index.keep``."""
        index, parts = self.index, []
        for start in range(0, len(queries), ROWS):
            part = slice(start, start + ROWS)
            query, slope = _quantized(index, along[part])
            parts.append(self._rough(queries[part], query, slope, top))
        rough = Rough(*map(np.concatenate, zip(*parts, strict=True)))
        exact, rest = _shares(index, rough)
        outside = 1.0 - np.square(along.astype(np.float64)).sum(axis=1)  # [B]
        constant, per_outside = index.correction
        z = exact + rest * np.exp(constant + per_outside * outside)
        log_z = np.array([math.log(value) + index.largest for value in z.tolist()], np.float32)
        return Found(rough.top_items, rough.top_logits, log_z, exact, rest)


def _quantized(index: ScanIndex, along: Floats) -> tuple[Bytes, Floats]:
    """Queries in steps [B, D], and what a score is worth in a float's bits [B]."""
    largest = np.maximum(np.abs(along).max(axis=1), np.float32(1e-30))  # [B]
    step = largest / np.float32(QUERY_STEPS)
    query = (np.rint(along / step[:, None]) + np.float32(QUERY_OFFSET)).astype(np.uint8)
    slope = (step.astype(np.float64) * index.item_step * BITS_PER_NAT).astype(np.float32)
    return query, slope


def _shares(index: ScanIndex, rough: Rough) -> tuple[Doubles, Doubles]:
    """Shares of exp(log Z - largest): of the items with exact logits, and roughly of the rest."""
    # Sorted, because the two forms find them in different orders.
    exact = np.exp(np.sort(rough.logits, axis=1).astype(np.float64) - index.largest).sum(axis=1)
    total = rough.sums.astype(np.float64).sum(axis=1)
    return exact, np.maximum(total - rough.replaced / _SUM_UNITS, 0.0)


def shift_of(index: ScanIndex) -> np.float32:
    """What makes a score's share of the bits those of exp(logit - largest)."""
    return np.float32(ONE_BITS - LINE_SHIFT - index.largest * BITS_PER_NAT)


def is_compiled() -> bool:
    """Whether this installation has the compiled form."""
    return _library() is not None


class CompiledForm:
    """``model/native/scan.c`` on one index."""

    def __init__(self, index: ScanIndex, library: ctypes.CDLL) -> None:
        self._index, self._library = index, library
        self._packed, self._vectors = _aligned(index.packed), _aligned(index.vectors)
        self._form = library.scan_best_form()
        width = len(index.bias)
        most = len(index.packed) // (BLOCKS_PER_KEPT * index.keep)
        self._block = max(1, most // GROUPS_AT_ONCE) * GROUPS_AT_ONCE
        blocks = -(-len(index.packed) // self._block)
        # Allocated once: fresh pages would cost more than the scan of a small batch.
        self._scores = np.empty((ROWS, width), np.int32)
        self._maxima = np.empty((ROWS, blocks), np.int32)
        self._list = np.empty((width + 1, 2), np.int32)
        self._found = np.empty((ROWS, index.keep, 2), np.int32)

    def __call__(self, queries: Floats, query: Bytes, slope: Floats, top: int) -> Rough:
        index, (rows, width) = self._index, queries.shape
        queries = np.ascontiguousarray(queries)
        sums = np.empty((rows, LANES), np.float32)
        scan = _Scan(
            *map(_address, (self._packed, index.bias, query, slope)),
            shift_of(index),
            *(len(index.packed), index.dims, rows, self._block, index.keep),
            *map(_address, (self._scores, self._maxima, self._list, self._found, sums)),
        )
        top_items, top_logits = np.empty((rows, top), np.int32), np.empty((rows, top), np.float32)
        logits = np.empty((rows, index.keep), np.float32)
        replaced = np.empty(rows, np.int64)
        results = (_pointer(array) for array in (top_items, top_logits, logits, replaced))
        self._library.scan_rough(ctypes.byref(scan), self._form)
        self._library.scan_exact(
            ctypes.byref(scan),
            *(_pointer(self._vectors), _pointer(queries)),
            *(ctypes.c_int64(width), ctypes.c_int64(top), self._form),
            *results,
        )
        return Rough(top_items, top_logits, logits, replaced, sums)


class NumpyForm:
    """The same in numpy. Integer scores stay below 2 ** 24, so that float32 holds them exactly."""

    def __init__(self, index: ScanIndex) -> None:
        self._index = index
        groups, _, lanes, _ = index.packed.shape
        items = index.packed.transpose(0, 2, 1, 3).reshape(groups * lanes, -1)  # [G * LANES, D]
        self._items = items.T.astype(np.float32)

    def __call__(self, queries: Floats, query: Bytes, slope: Floats, top: int) -> Rough:
        index, rows = self._index, len(queries)
        scores = (query.astype(np.float32) @ self._items).astype(np.int32) + index.bias
        exps = _rough_exp(scores, slope, shift_of(index))  # [B, G * LANES]
        # One addition after the other over the groups, as the compiled form takes them.
        sums = np.add.accumulate(exps.reshape(rows, -1, LANES), axis=1)[:, -1]
        best = np.argsort(-scores.astype(np.int64), axis=1, kind="stable")[:, : index.keep]
        kept = np.take_along_axis(exps, best, axis=1).astype(np.float64)
        replaced = (kept * _SUM_UNITS).astype(np.int64).sum(axis=1)
        logits = _dots(index.vectors[best], queries)  # [B, keep]
        order = np.lexsort((best, -logits), axis=1)[:, :top]
        return Rough(
            np.take_along_axis(best, order, axis=1).astype(np.int32),
            np.take_along_axis(logits, order, axis=1),
            logits,
            replaced,
            sums,
        )


def _rough_exp(scores: npt.NDArray[np.int32], slope: Floats, shift: np.float32) -> Floats:
    bits = scores.astype(np.float32) * slope[:, None] + shift
    whole: npt.NDArray[np.int32] = np.rint(np.maximum(bits, np.float32(0))).astype(np.int32)
    return whole.view(np.float32)


def _dots(vectors: Floats, queries: Floats) -> Floats:
    """Dot products [B, n] of vectors [B, n, H] in LANES running sums, as the compiled form has."""
    shaped = (vectors * queries[:, None, :]).reshape(*vectors.shape[:2], -1, LANES)
    lanes = np.add.accumulate(shaped, axis=2)[:, :, -1]  # [B, n, LANES]
    a, b, c, d, e, f, g, h = np.moveaxis(lanes, -1, 0)
    return np.asarray(((a + e) + (c + g)) + ((b + f) + (d + h)))


def _aligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy that begins at a cache line: loads across two lines take twice as long."""
    store = np.empty(array.nbytes + LINE_BYTES, np.uint8)
    start = -store.ctypes.data % LINE_BYTES
    copy = store[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _address(array: npt.NDArray[Any]) -> int:
    return array.ctypes.data


def _pointer(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@cache
def _library() -> ctypes.CDLL | None:
    if not LIBRARY.exists():
        return None
    library = ctypes.CDLL(str(LIBRARY))
    return library if library.scan_version() == VERSION else None
