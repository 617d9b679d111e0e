"""What the forms of the fast scan are asked, and what they find; the compiled one keeps all but the
end of it to itself."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.scan_index import BITS_PER_NAT, QUERY_OFFSET, QUERY_STEPS, ScanIndex
from model.spec import Floats, Ints

SUM_UNITS = float(1 << 40)
"""Exps of single items are summed in units of its inverse, so that no order changes the sum."""


class Found(NamedTuple):
    """The result of a scan of B queries. Shares are of exp(log_z - largest)."""

    top_items: Ints  # [B, K] best first, ties by lowest code
    top_logits: Floats  # [B, K]
    log_z: Floats  # [B]
    exact: npt.NDArray[np.float64]  # [B] share of the items that were scored exactly
    rest: npt.NDArray[np.float64]  # [B] share of all others, without the correction
    growth: npt.NDArray[np.float64]  # [B] what the error of ``rest`` grows with

    @classmethod
    def of(cls, rows: int, top: int) -> "Found":
        """Room for so many."""
        return cls(
            np.empty((rows, top), np.int32),
            np.empty((rows, top), np.float32),
            np.empty(rows, np.float32),
            *(np.empty(rows) for _ in range(3)),
        )


class Asked(NamedTuple):
    """B queries in steps, and what a score of theirs is worth in a float's bits."""

    query: npt.NDArray[np.uint8]  # [B, D]
    slope: Floats  # [B] of items
    centre_slope: Floats  # [B] of clusters; as ``slope`` where there are none


class Rough(NamedTuple):
    """What is found before the log-normaliser is put together from it. Shares are of
    exp(log Z - largest)."""

    top_items: Ints  # [B, K]
    top_logits: Floats  # [B, K]
    logits: Floats  # [B, keep] exact ones of the best rough items, in the order of places
    scanned: npt.NDArray[np.float64]  # [B] rough share of the other items that were scanned
    skipped: npt.NDArray[np.float64]  # [B] rough share of the clusters that were not


def in_steps(index: ScanIndex, along: Floats) -> Asked:
    """Queries of which ``along`` [B, D] lies along the index's directions."""
    largest = np.maximum(np.abs(along).max(axis=1), np.float32(1e-30))  # [B]
    step = largest / np.float32(QUERY_STEPS)
    query = (np.rint(along / step[:, None]) + np.float32(QUERY_OFFSET)).astype(np.uint8)
    centres = index.item_step if index.clusters is None else index.clusters.centre_step
    slope, centre_slope = (
        (step.astype(np.float64) * table_step * BITS_PER_NAT).astype(np.float32)
        for table_step in (index.item_step, centres)
    )
    return Asked(query, slope, centre_slope)
