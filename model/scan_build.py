"""Making the index of a scan from item vectors."""

from typing import Any

import msgspec
import numpy as np

from model.scan_clusters import Clusters
from model.scan_grouping import Grouping, root_of
from model.scan_index import CHUNK, ITEM_STEPS, LANES, QUERY_OFFSET, Doubles, ScanIndex
from model.spec import Floats

# Of the longest direction's square: below it lie rounding errors of float32 vectors.
NO_LENGTH = 1e-9


def build_index(
    vectors: Floats, dims: int, keep: int, directions: Floats | None = None
) -> ScanIndex:
    """The index of item vectors [V, H] along the first ``dims`` directions of [H, H], those with
    most of the items' length if none are given; without corrections yet.

    ``dims`` is a multiple of 2 * CHUNK up to H, H one of LANES; ``keep`` is at most V.
    """
    whole = product_directions(vectors) if directions is None else directions
    part = np.ascontiguousarray(whole[:, :dims], np.float32)  # [H, D]
    packed, bias, step = _rough(vectors @ part, -(-len(vectors) // LANES))
    largest = float(np.linalg.norm(vectors, axis=1).max())
    return ScanIndex(
        vectors=np.ascontiguousarray(vectors, np.float32),
        directions=part,
        packed=packed,
        bias=bias,
        constants=np.array([step, largest, 0.0, 0.0, keep]),
    )


def cluster_index(
    vectors: Floats, directions: Floats, dims: int, keep: int, grouping: Grouping, taken: int
) -> ScanIndex:
    """``build_index`` with clusters, of which each query scans ``taken``."""
    index = build_index(vectors[grouping.order], dims, keep, directions)
    clusters, lanes = len(grouping.centres), LANES * grouping.block
    packed, bias, _ = _rough(index.vectors @ index.directions, clusters * grouping.block)
    groups = -(-clusters // LANES)
    centre_packed, centre_bias, centre_step = _rough(grouping.centres @ index.directions, groups)
    sizes = np.minimum(lanes, len(vectors) - lanes * np.arange(clusters))
    log_weight = np.zeros(groups * LANES, np.float32)
    mean = float(np.average(grouping.variance, weights=sizes))
    log_weight[:clusters] = np.log(sizes) + (grouping.variance - mean) / 2
    turned = np.diagonal(directions.T @ grouping.within @ directions).astype(np.float64)  # [H]
    left_out = turned[dims:].mean() if dims < len(turned) else 0.0
    found = Clusters(
        order=grouping.order,
        centre_packed=centre_packed,
        centre_bias=centre_bias,
        log_weight=log_weight,
        spread=np.array([*turned[:dims], left_out]),
        cluster_constants=np.array([centre_step, grouping.block, taken], np.float64),
    )
    return msgspec.structs.replace(index, packed=packed, bias=bias, clusters=found)


def product_directions(vectors: Floats, metric: Doubles | None = None) -> Floats:
    """Orthonormal directions [H, H], first those with most of the products of the vectors [V, H]
    and queries with second moments ``metric`` [H, H]; any query is as likely if it is None.

    Those that no vector has a part in come last, whatever queries have there: a net with units that
    read no items has as many of them.
    """
    wide = vectors.astype(np.float64)
    lengths, basis = np.linalg.eigh(wide.T @ wide)  # [H] squares, ascending, and [H, H]
    if metric is not None:
        own = lengths > NO_LENGTH * lengths[-1]
        inside = basis[:, own]  # [H, r]
        root = root_of(inside.T @ metric @ inside)
        _, turned = np.linalg.eigh(root @ (lengths[own, None] * root))  # [r, r], ascending
        basis = np.concatenate((basis[:, ~own], inside @ turned), axis=1)
    return np.ascontiguousarray(basis[:, ::-1], np.float32)


def _rough(along: Floats, groups: int) -> tuple[Any, Any, float]:
    """``packed``, ``bias`` and step of vectors [N, D] in so many groups."""
    rows, dims = along.shape
    step = max(float(np.abs(along).max()), 1e-30) / ITEM_STEPS
    whole = np.zeros((groups * LANES, dims), np.int8)
    whole[:rows] = np.rint(along / np.float32(step)).clip(-ITEM_STEPS, ITEM_STEPS)
    bias = -QUERY_OFFSET * whole.astype(np.int32).sum(axis=1, dtype=np.int32)
    bias[rows:] = -(1 << 30)
    packed = whole.reshape(groups, LANES, dims // CHUNK, CHUNK).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(packed), bias.astype(np.int32), step
