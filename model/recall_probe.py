"""How much of the exact best a served scan finds, looked at now and then while it serves.

An export measures this on the memories of its day. Users change, and what a large catalogue's scan
leaves out was chosen by what they asked for then.
"""

import numpy as np

from model.scan_index import ScanIndex
from model.spec import Floats, Ints

PROBED_FROM_ITEMS = 100_000
ROWS_BETWEEN = 1 << 17
"""An exact scan of 500,000 items costs 20 ms: 0.2 us a row."""


class RecallProbe:
    """Scans one row of every so many exactly; answers do not change."""

    def __init__(self, index: ScanIndex, rows_between: int = ROWS_BETWEEN) -> None:
        self._index, self._rows_between = index, rows_between
        self._waiting = rows_between
        self._wanted = self._found = 0

    def see(self, queries: Floats, top_items: Ints) -> None:
        """What a scan answered [B, K] to unit queries [B, H]."""
        self._waiting -= len(queries)
        if self._waiting > 0 or not len(queries):
            return
        self._waiting = self._rows_between
        logits, wanted = self._index.vectors @ queries[0], top_items.shape[1]  # [V]
        places = np.argpartition(-logits, wanted - 1)[:wanted]
        clusters = self._index.clusters
        best = places if clusters is None else clusters.order[places]
        self._wanted += wanted
        self._found += len(np.intersect1d(best, top_items[0]))

    def recall(self) -> float | None:
        """Share of the exact best that was found; None before the first look."""
        return self._found / self._wanted if self._wanted else None


def probe_of(index: ScanIndex) -> RecallProbe | None:
    """None for scans of all items, and of catalogues whose exports leave little room."""
    skips = index.clusters is not None and len(index.vectors) >= PROBED_FROM_ITEMS
    return RecallProbe(index) if skips else None
