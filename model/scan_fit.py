"""Choosing the projected scan's index at export: directions, candidates, corrections."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from model.native_scan import ItemScan
from model.scan_index import CHUNK, LANES, MAX_DIMS, ScanIndex, build_index
from model.spec import Floats

MIN_RECALL = 0.9995
MAX_LOG_Z_ERROR = 0.04  # nats, 99 % of the queries; the export allows a little more

# From the cheapest on. Measured on a model of 17,376 items (H = 128): 64 directions with 128
# candidates find .9986 of the best 20, 96 with 64 find .9996, all with 64 miss none.
SHARES_OF_WIDTH = (1 / 4, 1 / 2, 5 / 8, 3 / 4, 1)
KEEPS = (64, 128)

ROWS = 256


def fit_index(vectors: Floats, queries: Floats, top: int) -> ScanIndex | None:
    """The cheapest index of item vectors [V, H] that is good enough on unit queries [N, H]; None
    where none is, or where the vectors are too few or too odd for a scan of their own."""
    width = vectors.shape[1]
    if width % LANES or len(vectors) < max(KEEPS) or top > min(KEEPS) // 2:
        return None
    wanted, log_z = _exact(vectors, queries, top)
    step = 2 * CHUNK
    for dims in sorted({round(share * width / step) * step for share in SHARES_OF_WIDTH}):
        for keep in KEEPS:
            if not step <= dims <= min(width, MAX_DIMS):
                continue
            index = _corrected(build_index(vectors, dims, keep), queries, log_z, top)
            if _is_good(index, queries, wanted, log_z, top):
                return index
    return None


def _exact(vectors: Floats, queries: Floats, top: int) -> tuple[list[set[int]], Floats]:
    """The best items of each query, and log Z [N]."""
    best: list[set[int]] = []
    log_z = np.empty(len(queries), np.float32)
    for start in range(0, len(queries), ROWS):
        logits = (queries[start : start + ROWS] @ vectors.T).astype(np.float64)  # [B, V]
        largest = logits.max(axis=1, keepdims=True)
        z = np.exp(logits - largest).sum(axis=1)
        log_z[start : start + ROWS] = np.log(z) + largest[:, 0]
        chosen = np.argpartition(-logits, top - 1, axis=1)[:, :top]
        best += [set(row) for row in chosen.tolist()]
    return best, log_z


def _corrected(index: ScanIndex, queries: Floats, log_z: Floats, top: int) -> ScanIndex:
    """The index with the correction that fits the rest of the normaliser best (least squares)."""
    along = queries @ index.directions  # [N, D]
    found = ItemScan(index).find(queries, along, top)
    true_rest = np.exp(log_z.astype(np.float64) - index.largest) - found.exact  # [N]
    rough_rest = found.rest
    usable = (true_rest > 0) & (rough_rest > 0)
    if usable.sum() < 2:
        return index
    outside = 1.0 - np.square(along.astype(np.float64)).sum(axis=1)  # [N]
    columns = np.stack([np.ones(len(queries)), outside], axis=1)[usable]
    target = np.log(true_rest[usable] / rough_rest[usable])
    # What the rest weighs in the normaliser is what its error weighs in log Z.
    weight = (true_rest / (true_rest + found.exact))[usable]
    fitted, *_ = np.linalg.lstsq(columns * weight[:, None], target * weight, rcond=None)
    constants = index.constants.copy()
    constants[2:4] = fitted if all(map(math.isfinite, fitted)) else 0.0
    return msgspec.structs.replace(index, constants=constants)


def _is_good(
    index: ScanIndex, queries: Floats, wanted: Sequence[set[int]], log_z: Floats, top: int
) -> bool:
    found = ItemScan(index).find(queries, queries @ index.directions, top)
    items = map(set, found.top_items.tolist())
    hits = sum(len(a & b) for a, b in zip(items, wanted, strict=True))
    error = np.abs(found.log_z - log_z)
    recall = hits / (top * len(queries))
    return recall >= MIN_RECALL and float(np.quantile(error, 0.99)) <= MAX_LOG_Z_ERROR
