"""The fast scan in C: ``model/native/scan.c`` and ``scan_find.c`` on one index."""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.scan_index import BITS_PER_NAT, LANES, RoughTable, ScanIndex
from model.scan_rough import Found
from model.spec import Floats

LIBRARY = Path(__file__).parent / "native" / "scan.so"
VERSION = 5
ROWS = 16
"""Rows of one pass: few enough that their rough scores stay in the cache until the best are chosen,
many enough that the items, which pass through it once for all of them, do not come too often."""

BLOCKS_PER_KEPT = 4
GROUPS_AT_ONCE = 4  # of the widest form; a block that is no multiple of it costs it more
LINE_BYTES = 64
BESIDE = 3  # exponents of a row beside those of its logits


Arrays = tuple[npt.NDArray[Any] | None, ...]

_INPUTS = ("items", "bias", "shift", "query", "slope", "chosen")
_SIZES = ("own_shifts", "groups", "dims", "rows", "block", "taken", "keep")
_SCRATCH = ("scores", "maxima", "list", "visits", "starts", "found", "sums", "found_sums")


class _Scan(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in _INPUTS),
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_void_p) for name in _SCRATCH),
    )


class _Index(ctypes.Structure):
    _fields_ = (
        *(("items", _Scan), ("centres", _Scan)),
        *((name, ctypes.c_void_p) for name in ("vectors", "codes", "spread")),
        *((name, ctypes.c_void_p) for name in ("query", "slope", "centre_slope")),
        *((name, ctypes.c_void_p) for name in ("logits", "skipped")),
        *((name, ctypes.c_int64) for name in ("rows", "width", "form")),
        *((name, ctypes.c_double) for name in ("item_step", "centre_step", "bits_per_nat")),
        *((name, ctypes.c_double) for name in ("largest", "constant", "growth")),
    )


class _Asked(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("queries", "along", "top_items", "top_logits")),
        *((name, ctypes.c_void_p) for name in ("log_z", "exact", "rest", "growing")),
        ("exponents", ctypes.c_void_p),
        ("top", ctypes.c_int64),
    )


class _Queries(NamedTuple):
    """Of one pass, in steps."""

    query: npt.NDArray[np.uint8]  # [ROWS, D]
    slope: Floats  # [ROWS]
    centre_slope: Floats  # [ROWS]


class CompiledForm:
    """Searches one index; owns its scratch."""

    def __init__(self, index: ScanIndex, library: ctypes.CDLL) -> None:
        self._library, self._keep = library, index.keep
        clusters, centres, held = index.clusters, _Scan(), []
        asked = _Queries(
            np.empty((ROWS, index.dims), np.uint8), *(np.empty(ROWS, np.float32) for _ in range(2))
        )
        codes = spread = chosen = None
        block = taken = 0
        if clusters is not None and index.centres is not None:
            block, taken = clusters.block, clusters.taken
            first = _Pass(index.centres, taken)
            codes, spread = np.ascontiguousarray(clusters.order), _aligned(clusters.spread)
            centres, chosen = first.scan(asked.query, asked.centre_slope), first.found
            held.append(first)
        items = _Pass(index.items, index.keep, block, taken)
        vectors = _aligned(index.vectors)
        scratch = (np.empty((ROWS, index.keep), np.float32), np.empty(ROWS))
        arrays: Arrays = (vectors, codes, spread, *asked, *scratch)
        steps = (index.item_step, 0.0 if clusters is None else clusters.centre_step, BITS_PER_NAT)
        self._index = _Index(
            items.scan(asked.query, asked.slope, chosen),
            centres,
            *map(_address, arrays),
            *(ROWS, vectors.shape[1], library.scan_best_form()),
            *(*steps, index.largest, *index.correction),
        )
        self._held = (*held, items, *arrays)

    @property
    def form(self) -> int:
        """The place among the forms for processors."""
        found: int = self._index.form
        return found

    @form.setter
    def form(self, form: int) -> None:
        self._index.form = form

    def bind(self, queries: Floats, along: Floats, found: Found) -> Callable[[int], None]:
        exponents = np.empty((len(queries), self._keep + BESIDE))
        arrays: Arrays = (queries, along, *found, exponents)
        asked = _Asked(*map(_address, arrays), found.top_items.shape[1])
        places = ctypes.byref(self._index), ctypes.byref(asked)
        ask, tell = self._library.scan_ask, self._library.scan_tell

        # What C is given addresses of lives as long as the function.
        def find(rows: int, held: Any = (self, arrays)) -> None:
            ask(*places, rows)
            part = exponents[:rows]
            np.exp(part, out=part)
            tell(*places, rows)

        return find


class _Pass:
    """One table of rough rows, and the scratch of a pass over it."""

    def __init__(self, table: RoughTable, keep: int, block: int = 0, taken: int = 0) -> None:
        """Each row names ``taken`` blocks of ``block`` groups; without them it scans all."""
        groups, chunks, lanes, chunk = table.packed.shape
        most = groups // (BLOCKS_PER_KEPT * keep)
        block = block or max(1, most // GROUPS_AT_ONCE) * GROUPS_AT_ONCE
        blocks = -(-groups // block)
        taken = taken or blocks
        width = taken * block * lanes
        self._table = (_aligned(table.packed), _aligned(table.bias), _aligned(table.shift))
        self._sizes = (int(len(table.shift) > LANES), groups, chunks * chunk, ROWS)
        self._ends = (block, taken, keep)
        self.found = np.empty((ROWS, keep), np.int32)
        self._scratch = (
            np.empty((ROWS, width), np.int32),
            np.empty((ROWS, taken, lanes), np.int32),
            np.empty((3, width), np.int32),
            np.empty((ROWS * taken, 2), np.int32),
            np.empty(blocks + 1, np.int32),
            self.found,
            np.empty((ROWS, LANES), np.float32),
            np.empty(ROWS, np.int64),
        )

    def scan(
        self,
        query: npt.NDArray[np.uint8],
        slope: Floats,
        chosen: npt.NDArray[np.int32] | None = None,
    ) -> _Scan:
        """Of these queries, which have to outlive it, as this pass has."""
        return _Scan(
            *map(_address, (*self._table, query, slope, chosen)),
            *(*self._sizes, *self._ends),
            *map(_address, self._scratch),
        )


def _aligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy that begins at a cache line: loads across two lines take twice as long."""
    store = np.empty(array.nbytes + LINE_BYTES, np.uint8)
    start = -store.ctypes.data % LINE_BYTES
    copy = store[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _address(array: npt.NDArray[Any] | None) -> int | None:
    return None if array is None else array.ctypes.data


@cache
def library() -> ctypes.CDLL | None:
    """None where this installation has no compiled form, or that of another version."""
    if not LIBRARY.exists():
        return None
    found = ctypes.CDLL(str(LIBRARY))
    if found.scan_version() != VERSION:
        return None
    for name in ("scan_ask", "scan_tell"):
        function = getattr(found, name)
        function.argtypes, function.restype = (*[ctypes.c_void_p] * 2, ctypes.c_int64), None
    return found
