"""The two served graphs and the scan behind them, over buffers that they share.

The recurrence needs what the step before it left, so it runs round by round; everything else
follows from memories that are known then, and is read out of as many rows as a call takes.
"""

from collections.abc import Callable, Sequence

import numpy as np

from model.bound_graph import BoundGraph, Buffers, buffer
from model.native_scan import ItemScan
from model.recall_probe import probe_of
from model.scan_index import ScanIndex
from model.scan_rough import Found
from model.served import Graphs, score_columns
from model.spec import Floats, Hidden, Ints, ModelSpec, Tokens

# With the projected scan only its index passes through the cache, once for all rows of a call.
PROJECTED_ROWS = 256

# The scores of all items of one call should stay in the processor's cache: measured, 17,000 items
# cost the least at 16 to 64 rows a call.
SCORE_BYTES = 4 << 20
CALL_ROWS = (16, 256)


class StepSession:
    """Runs the recurrence, and the read-out on up to ``rows`` rows a call."""

    def __init__(self, graphs: Graphs, spec: ModelSpec, index: ScanIndex | None = None) -> None:
        self.probe = None if index is None else probe_of(index)
        self._top = slice(3, 3 + spec.top_k)
        self._find: Callable[[int], None] | None = None
        self.rows = rows = rows_per_call(spec) if index is None else PROJECTED_ROWS
        self._item: Ints = buffer("int32", rows)
        self._action: Ints = buffer("int32", rows)
        self._gap: Ints = buffer("int32", rows)
        self._dense: Floats = buffer("float32", rows, len(spec.features))
        self._before: Hidden = buffer(spec.memory_dtype, rows, spec.hidden_width)
        self._after: Hidden = buffer(spec.memory_dtype, rows, spec.hidden_width)
        self._top_items: Ints = buffer("int32", rows, spec.top_k)
        self._scores: Floats = buffer("float32", rows, sum(score_columns(spec).values()))
        outputs: dict[str, Floats | Ints] = {"scores": self._scores}
        if index is None:
            outputs["top_items"] = self._top_items
        else:
            self._queries: Floats = buffer("float32", rows, spec.hidden_width)
            self._along: Floats = buffer("float32", rows, index.dims)
            outputs |= {"queries": self._queries, "along": self._along}
            self._found = Found.of(rows, spec.top_k)._replace(top_items=self._top_items)
            self._find = ItemScan(index).bind(self._queries, self._along, self._found)
        self._recurrence = BoundGraph(
            graphs.recurrence, self._tokens(), {"new_hidden": self._after}
        )
        told = {"item": self._item, "chosen_action": self._action[:, None]}
        memories = {"before": self._before, "after": self._after}
        self._read_out = BoundGraph(graphs.read_out, told | memories, outputs)

    @property
    def metadata(self) -> tuple[dict[str, str], dict[str, str]]:
        """The strings that the graphs were built with."""
        return self._recurrence.metadata, self._read_out.metadata

    def step(self, tokens: Tokens, hidden: Hidden) -> tuple[Hidden, Ints, Floats]:
        """One step of at most ``self.rows`` rows: memories [B, H], best items [B, K] and scores
        [B, W]."""
        rows = len(tokens.item)
        self._recur(tokens, hidden, 0, rows, 0)
        return self._after[:rows].copy(), *self._told(rows)

    def recur(self, tokens: Tokens, hidden: Hidden, rounds: Sequence[int]) -> tuple[Hidden, Hidden]:
        """The memories [N, H] that N tokens meet, and those that they leave: see
        ``spec.Engine.advance``."""
        before: Hidden = np.empty((len(tokens.item), hidden.shape[1]), hidden.dtype)
        after, start, held = np.empty_like(before), 0, hidden
        for size in rounds:
            before[start : start + size] = held[:size]
            for first in range(start, start + size, self.rows):
                end = min(first + self.rows, start + size)
                self._recur(tokens, held, first, end, first - start)
                after[first:end] = self._after[: end - first]
            held, start = after[start : start + size], start + size
        return before, after

    def read_out(self, tokens: Tokens, before: Hidden, after: Hidden) -> tuple[Ints, Floats]:
        """Best items [N, K] and scores [N, W] of any number of rows."""
        parts = []
        for start in range(0, len(tokens.item), self.rows):
            own = slice(start, start + self.rows)
            rows = len(tokens.item[own])
            self._item[:rows] = tokens.item[own]
            self._action[:rows] = tokens.action[own]
            self._before[:rows] = before[own]
            self._after[:rows] = after[own]
            parts.append(self._told(rows))
        if len(parts) == 1:
            return parts[0]
        top_items, scores = zip(*parts, strict=True)
        return np.concatenate(top_items), np.concatenate(scores)

    def _recur(self, tokens: Tokens, held: Hidden, start: int, end: int, lane: int) -> None:
        """Tokens ``start .. end-1`` of the users whose memories begin at ``lane``."""
        rows = end - start
        self._item[:rows] = tokens.item[start:end]
        self._action[:rows] = tokens.action[start:end]
        self._gap[:rows] = tokens.gap[start:end]
        if self._dense.size:
            self._dense[:rows] = tokens.dense[start:end]
        self._before[:rows] = held[lane : lane + rows]
        self._recurrence.run(rows)

    def _told(self, rows: int) -> tuple[Ints, Floats]:
        """What is read out of the first rows of the buffers."""
        self._read_out.run(rows)
        if self._find is not None:
            self._find(rows)
            self._put_in(rows)
        return self._top_items[:rows].copy(), self._scores[:rows].copy()

    def _put_in(self, rows: int) -> None:
        """Fill in what the graph left to the scan: see ``served.score_columns``."""
        log_z, scores = self._found.log_z[:rows], self._scores[:rows]
        scores[:, 2] = log_z
        np.subtract(self._found.top_logits[:rows], log_z[:, None], out=scores[:, self._top])
        if self.probe is not None:
            self.probe.see(self._queries[:rows], self._top_items[:rows])

    def _tokens(self) -> Buffers:
        arrays = {"item": self._item, "action": self._action, "gap": self._gap}
        told: Buffers = {"dense": self._dense} if self._dense.size else {}
        return {**arrays, **told, "hidden": self._before}


def rows_per_call(spec: ModelSpec) -> int:
    fewest, most = CALL_ROWS
    return int(np.clip(SCORE_BYTES // (4 * spec.item_count), fewest, most))
