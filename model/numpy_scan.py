"""The fast scan in numpy: the bits of ``model/native``, an order of magnitude slower."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from model.scan_index import LANES, RoughTable, ScanIndex
from model.scan_rough import SUM_UNITS, Asked, Found, Rough, in_steps
from model.spec import Floats

Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]


class NumpyForm:
    """Scans one index."""

    def __init__(self, index: ScanIndex) -> None:
        self._index, self._items = index, _Table(index.items)
        self._centres = None if index.centres is None else _Table(index.centres)

    def bind(self, queries: Floats, along: Floats, found: Found) -> Callable[[int], None]:
        def find(rows: int) -> None:
            room: tuple[npt.NDArray[Any], ...] = found
            told: tuple[npt.NDArray[Any], ...] = self._find(
                queries[:rows], along[:rows], found.top_items.shape[1]
            )
            for into, values in zip(room, told, strict=True):
                into[:rows] = values

        return find

    def _find(self, queries: Floats, along: Floats, top: int) -> Found:
        index = self._index
        rough = self._rough(queries, in_steps(index, along), top)
        exact = np.exp(rough.logits.astype(np.float64) - index.largest).sum(axis=1)  # [B]
        rest, growth = index.rest(along, rough.scanned, rough.skipped)
        constant, slope = index.correction
        z = exact + rest * np.exp(constant + slope * growth)
        log_z = np.array([math.log(value) + index.largest for value in z.tolist()], np.float32)
        return Found(rough.top_items, rough.top_logits, log_z, exact, rest, growth)

    def _rough(self, queries: Floats, asked: Asked, top: int) -> Rough:
        index, clusters = self._index, self._index.clusters
        skipped, groups = np.zeros(len(queries)), None
        if clusters is not None and self._centres is not None:
            chosen, skipped = self._centres.best(asked.query, asked.centre_slope, clusters.taken)
            first = chosen[:, :, None] * clusters.block  # [B, taken, 1]
            groups = (first + np.arange(clusters.block)).reshape(len(queries), -1)
        places, scanned = self._items.best(asked.query, asked.slope, index.keep, groups)
        logits = _dots(index.vectors[places], queries)  # [B, keep]
        items = places if clusters is None else clusters.order[places]
        order = np.lexsort((items, -logits), axis=1)[:, :top]
        return Rough(
            np.take_along_axis(items, order, axis=1).astype(np.int32),
            np.take_along_axis(logits, order, axis=1),
            logits,
            scanned,
            skipped,
        )


class _Table:
    """Rough rows. Integer scores stay below 2 ** 24, so that float32 holds them exactly."""

    def __init__(self, table: RoughTable) -> None:
        groups, _, lanes, _ = table.packed.shape
        rows = table.packed.transpose(0, 2, 1, 3).reshape(groups, lanes, -1)
        self._rows = rows.astype(np.float32)  # [G, LANES, D]
        self._bias = table.bias.reshape(groups, lanes)
        self._shift = np.resize(table.shift, (groups, lanes))

    def best(
        self, query: Bytes, slope: Floats, keep: int, groups: Longs | None = None
    ) -> tuple[Longs, npt.NDArray[np.float64]]:
        """Of each row's groups [B, n], or of all: the places of the best [B, keep], rising, ties to
        the lowest, and the sum of the rough exps of the others [B]."""
        found = [
            self._of_row(query[row], slope[row], keep, None if groups is None else groups[row])
            for row in range(len(query))
        ]
        places, rest = zip(*found, strict=True)
        return np.stack(places), np.array(rest)

    def _of_row(
        self, query: Bytes, slope: np.float32, keep: int, groups: Longs | None
    ) -> tuple[Longs, float]:
        chosen = slice(None) if groups is None else groups
        products = self._rows[chosen] @ query.astype(np.float32)  # [n, LANES]
        scores = products.astype(np.int32) + self._bias[chosen]
        exps = _rough_exp(scores, slope, self._shift[chosen])  # [n, LANES]
        # One addition after the other over the groups, as the compiled form takes them.
        sums = np.add.accumulate(exps, axis=0)[-1].astype(np.float64)  # [LANES]
        best = np.sort(np.argsort(-scores.astype(np.int64), axis=None, kind="stable")[:keep])
        found = (exps.reshape(-1)[best].astype(np.float64) * SUM_UNITS).astype(np.int64).sum()
        inside = best // LANES if groups is None else groups[best // LANES]
        rest = float(sums.sum()) - float(found) / SUM_UNITS
        return inside * LANES + best % LANES, max(rest, 0.0)


def _rough_exp(scores: npt.NDArray[np.int32], slope: np.float32, shift: Floats) -> Floats:
    bits = scores.astype(np.float32) * slope + shift
    whole: npt.NDArray[np.int32] = np.rint(np.maximum(bits, np.float32(0))).astype(np.int32)
    return whole.view(np.float32)


def _dots(vectors: Floats, queries: Floats) -> Floats:
    """Dot products [B, n] of vectors [B, n, H] in LANES running sums, as the compiled form has."""
    shaped = (vectors * queries[:, None, :]).reshape(*vectors.shape[:2], -1, LANES)
    lanes = np.add.accumulate(shaped, axis=2)[:, :, -1]  # [B, n, LANES]
    a, b, c, d, e, f, g, h = np.moveaxis(lanes, -1, 0)
    return np.asarray(((a + e) + (c + g)) + ((b + f) + (d + h)))
