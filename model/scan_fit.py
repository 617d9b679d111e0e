"""Choosing the projected scan's index at export: clusters, directions, candidates, corrections."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from model.native_scan import ItemScan
from model.scan_build import build_index, cluster_index, product_directions
from model.scan_grouping import Grouping, group_items
from model.scan_index import CHUNK, LANES, MAX_DIMS, Doubles, ScanIndex
from model.spec import Floats

MAX_LOG_Z_ERROR = 0.04  # nats, 99 % of the queries; the export allows a little more

SHARES_OF_WIDTH = (1 / 4, 1 / 2, 5 / 8, 3 / 4, 1)
KEEPS = (32, 64, 128)

# Items in clusters: 32 in each as long as the centres are few beside them. Four groups are what the
# widest form takes at once.
LEAST_BLOCK, MOST_CLUSTERS = 4, 4_096
# Beyond this share of clusters a full scan, which takes items in larger portions, is as cheap.
MOST_TAKEN = 1 / 4
SPARES = (1.0, 1.25, 1.6)
"""More clusters than would have held the wanted items by their exact centres."""

# A part of the queries' second moments that counts every direction alike: other queries than the
# measured ones will come.
EVEN_SHARE = 0.01

# Nanoseconds a query, of one rough item as a constant and a slope over dims, and of an exact item.
# Measured on AVX-512 VNNI; only the order of what they give matters.
NS_ITEM, NS_ITEM_DIM, NS_EXACT = 0.14, 0.0056, 100.0
NS_EXACT_FAR = 200.0
"""Of vectors that no cache holds."""
CACHE_BYTES = 1 << 25

EXACT_NUMBERS = 1 << 24  # logits of one portion of the exact scan


def least_recall(items: int) -> float:
    """Of the exact best, what a served approximate scan has to find."""
    return 0.995 if items < 100_000 else 0.98


def wanted_recall(items: int) -> float:
    """What a choice has to find of the measured queries: others will do a little worse."""
    return 1.0 - 0.7 * (1.0 - least_recall(items))


class Exam(NamedTuple):
    """Unit queries, and what an exact scan finds for them."""

    queries: Floats  # [N, H]
    items: list[set[int]]  # the best of each
    log_z: Floats  # [N]


def fit_index(vectors: Floats, queries: Floats, top: int) -> ScanIndex | None:
    """The cheapest index of item vectors [V, H] that is good enough on unit queries [N, H]; None
    where none is, or where the vectors are too few or too odd for a scan of their own.

    Every other query shapes the candidates, the others judge them.
    """
    width = vectors.shape[1]
    if width % LANES or len(vectors) < max(KEEPS) or top > max(KEEPS) // 2 or len(queries) < 2:
        return None
    shaping, judging = (_exam(vectors, part, top) for part in (queries[::2], queries[1::2]))
    metric = _metric(shaping.queries)
    directions = product_directions(vectors, metric)
    grouping = group_items(vectors, metric, _block(len(vectors)))
    hopeless: set[tuple[int, int]] = set()
    for plan in sorted(_plans(vectors, grouping, clusters_needed(grouping, judging), top)):
        if (plan.dims, plan.keep) in hopeless:
            continue
        index = _corrected(_built(plan, vectors, directions, grouping), shaping, top)
        recall, log_z_error = _judged(index, judging, top)
        wanted = wanted_recall(len(vectors))
        if recall >= wanted and log_z_error <= MAX_LOG_Z_ERROR:
            return index
        # The clusters that are skipped cost no more than 1 - wanted: the rest was lost in others.
        if recall < 2 * wanted - 1:
            hopeless.add((plan.dims, plan.keep))
    return None


class _Plan(NamedTuple):
    """An index that could be built, and what its scan would cost a query."""

    cost_ns: float
    dims: int
    keep: int
    taken: int  # 0: without clusters


def _built(plan: _Plan, vectors: Floats, directions: Floats, grouping: Grouping) -> ScanIndex:
    if plan.taken:
        return cluster_index(vectors, directions, plan.dims, plan.keep, grouping, plan.taken)
    return build_index(vectors, plan.dims, plan.keep, directions)


def _plans(vectors: Floats, grouping: Grouping, needed: int, top: int) -> Iterator[_Plan]:
    (items, width), step = vectors.shape, 2 * CHUNK
    clusters, size = len(grouping.centres), grouping.block * LANES
    exact_ns = NS_EXACT if vectors.nbytes <= CACHE_BYTES else NS_EXACT_FAR
    for dims in sorted({round(share * width / step) * step for share in SHARES_OF_WIDTH}):
        for keep in KEEPS:
            if not step <= dims <= min(width, MAX_DIMS) or top > keep // 1.5:
                continue
            each_ns = NS_ITEM + NS_ITEM_DIM * dims
            yield _Plan(items * each_ns + keep * exact_ns, dims, keep, 0)
            for spare in SPARES:
                taken = max(math.ceil(needed * spare), -(-keep // size) + 1)
                if taken <= MOST_TAKEN * clusters:
                    scanned = clusters + taken * size
                    yield _Plan(scanned * each_ns + keep * exact_ns, dims, keep, taken)


def clusters_needed(grouping: Grouping, exam: Exam) -> int:
    """Of the best clusters of each query, as many as hold the wanted share of its best items."""
    items, clusters = len(grouping.order), len(grouping.centres)
    cluster_of = np.empty(items, np.int64)
    cluster_of[grouping.order] = np.arange(items) // (grouping.block * LANES)
    wanted = cluster_of[np.array([sorted(row) for row in exam.items])]  # [N, K]
    scores = exam.queries @ grouping.centres.T  # [N, C]
    ranks = np.empty_like(scores, np.int32)
    order = np.argsort(-scores, axis=1, kind="stable")
    np.put_along_axis(ranks, order, np.arange(clusters, dtype=np.int32)[None], axis=1)
    reached = np.sort(np.take_along_axis(ranks, wanted, axis=1), axis=None)
    return int(reached[math.ceil(wanted_recall(items) * len(reached)) - 1]) + 1


def _block(items: int) -> int:
    """Groups in a cluster."""
    block = LEAST_BLOCK
    while items > MOST_CLUSTERS * LANES * block:
        block *= 2
    return block


def _metric(queries: Floats) -> Doubles:
    """Second moments of queries [N, H] with a part that is alike everywhere, [H, H]."""
    moments = queries.astype(np.float64).T @ queries / len(queries)
    even = np.eye(len(moments)) * np.trace(moments) / len(moments)
    return np.asarray((1 - EVEN_SHARE) * moments + EVEN_SHARE * even)


def _exam(vectors: Floats, queries: Floats, top: int) -> Exam:
    best: list[set[int]] = []
    log_z = np.empty(len(queries), np.float32)
    rows = max(1, EXACT_NUMBERS // len(vectors))
    for start in range(0, len(queries), rows):
        logits = (queries[start : start + rows] @ vectors.T).astype(np.float64)  # [B, V]
        largest = logits.max(axis=1, keepdims=True)
        z = np.exp(logits - largest).sum(axis=1)
        log_z[start : start + rows] = np.log(z) + largest[:, 0]
        chosen = np.argpartition(-logits, top - 1, axis=1)[:, :top]
        best += [set(row) for row in chosen.tolist()]
    return Exam(queries, best, log_z)


def _corrected(index: ScanIndex, exam: Exam, top: int) -> ScanIndex:
    """The index with the correction that fits the rest of the normaliser best (least squares)."""
    found = ItemScan(index).find(exam.queries, exam.queries @ index.directions, top)
    true_rest = np.exp(exam.log_z.astype(np.float64) - index.largest) - found.exact  # [N]
    usable = (true_rest > 0) & (found.rest > 0)
    if usable.sum() < 2:
        return index
    columns = np.stack([np.ones(len(exam.queries)), found.growth], axis=1)[usable]
    target = np.log(true_rest[usable] / found.rest[usable])
    # What the rest weighs in the normaliser is what its error weighs in log Z.
    weight = (true_rest / (true_rest + found.exact))[usable]
    fitted, *_ = np.linalg.lstsq(columns * weight[:, None], target * weight, rcond=None)
    constants = index.constants.copy()
    constants[2:4] = fitted if all(map(math.isfinite, fitted)) else 0.0
    return msgspec.structs.replace(index, constants=constants)


def _judged(index: ScanIndex, exam: Exam, top: int) -> tuple[float, float]:
    """Recall, and the error of log Z that 99 % of the queries stay under."""
    found = ItemScan(index).find(exam.queries, exam.queries @ index.directions, top)
    items = map(set, found.top_items.tolist())
    hits = sum(len(a & b) for a, b in zip(items, exam.items, strict=True))
    error = np.abs(found.log_z - exam.log_z)
    return hits / (top * len(exam.queries)), float(np.quantile(error, 0.99))
