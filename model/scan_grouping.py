"""Items that score alike for a model's queries, side by side: the clusters of an index."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.scan_index import LANES, Doubles
from model.spec import Floats


class Grouping(NamedTuple):
    """Items in clusters, whatever directions an index takes of them."""

    order: npt.NDArray[np.int32]  # [V] codes, cluster by cluster
    block: int  # groups of items in a cluster
    centres: Floats  # [C, H]
    within: Floats  # [H, H] second moments of the items around their centres
    variance: Floats  # [C] mean variance of logits within a cluster, over all queries


def group_items(vectors: Floats, metric: Doubles, block: int) -> Grouping:
    """Clusters of ``block`` groups of the item vectors [V, H], near each other in their logits for
    queries with second moments ``metric`` [H, H]."""
    root = root_of(metric).astype(np.float32)  # [H, H]
    parts = equal_parts(vectors @ root, block * LANES)
    order = np.concatenate(parts).astype(np.int32)
    centres = np.stack([vectors[rows].mean(axis=0) for rows in parts])  # [C, H]
    sizes = [len(rows) for rows in parts]
    around = vectors[order] - np.repeat(centres, sizes, axis=0)  # [V, H]
    lengths = np.square(around @ root).sum(axis=1)  # [V]
    starts = np.cumsum([0, *sizes[:-1]])
    return Grouping(
        order,
        block,
        centres,
        around.T @ around / np.float32(len(vectors)),
        (np.add.reduceat(lengths, starts) / sizes).astype(np.float32),
    )


def root_of(metric: Doubles) -> Doubles:
    values, directions = np.linalg.eigh(metric)
    return np.asarray((directions * np.sqrt(np.maximum(values, 0.0))) @ directions.T)


def equal_parts(points: Floats, size: int) -> list[npt.NDArray[np.int64]]:
    """Row numbers of points [N, D] in parts of ``size``, but for the last: halved along the
    direction of the largest variance until they are small enough; rising within a part."""
    parts: list[npt.NDArray[np.int64]] = []
    waiting: list[npt.NDArray[np.int64]] = [np.arange(len(points))]
    while waiting:
        rows = waiting.pop()
        if len(rows) <= size:
            parts.append(np.sort(rows))
            continue
        centred = points[rows] - points[rows].mean(axis=0)
        _, directions = np.linalg.eigh(centred.T @ centred)
        half = -(-len(rows) // size) // 2 * size
        ranked = np.argsort(centred @ directions[:, -1], kind="stable")
        # The last part is taken next: a part that is not full comes at the very end.
        waiting += [rows[ranked[half:]], rows[ranked[:half]]]
    return parts
