"""Another model beside the live one: it reads the same events, and its answers are only compared.

Its memories are kept in process and never in the changelog: they are made anew from the ring where
they are missing, so a restart costs nothing but that. Users of the first WATCHED_ROWS rows of a
partition are watched, which bounds both memory (some 14 MB at defaults) and work.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from model.spec import OTHER, Engine, Floats, Memory, Places
from stream_app.core.batch import ShadowSums
from stream_app.core.entries import Steps
from stream_app.core.generations import relaid, translated
from stream_app.core.refold import Folded, history, refold
from stream_app.core.results import Results
from stream_app.core.state import Rows

WATCHED_ROWS = 32_768


class Shadow:
    """Memories and last answers of a model that is watched, by row of the store."""

    def __init__(self, engine: Engine, live: Engine) -> None:
        self.version, self.live_version = engine.version, live.version
        self.failed: str | None = None
        self._engine, self._live = engine, live
        codes = [engine.vocabulary.code(item) for item in live.vocabulary.items]
        known = np.array(codes, np.int32)
        # The shadow's code of each of the live model's items, -1 where it does not know one.
        self._codes = np.where(known < engine.spec.item_count, known, -1)
        names = engine.spec.actions
        # Which of the shadow's actions each of the live model's is: one-hot rows [A, A'].
        codes = [names.index(name) if name in names else OTHER for name in live.spec.actions]
        self._actions = np.eye(len(names))[codes]
        self._seen = np.zeros(0, np.int64)  # events that a row's memory has read, 0: none
        self._sums: dict[str, float] = {}
        self._size(0)

    def watch(self, steps: Steps, results: Results, held: Rows, burst_ms: int) -> None:
        """Read the steps of a pass, behind the live model; ``held`` are the store's rows. Never
        raises: whatever a shadow meets, the live path goes on."""
        if self.failed is not None:
            return
        try:
            self._watch(steps, results, held, burst_ms)
        except Exception as error:
            self.failed = f"{type(error).__name__}: {error}"

    def take(self) -> ShadowSums:
        """The sums since the last call."""
        sums, self._sums = self._sums, {}
        counts = {name: int(sums.get(name, 0)) for name in ("steps", "judged")}
        counts |= {name: int(sums.get(name, 0)) for name in ("live_hits", "shadow_hits")}
        return ShadowSums(
            divergence=sums.get("divergence", 0.0),
            overlap=sums.get("overlap", 0.0),
            failed=self.failed,
            **counts,
        )

    def _size(self, rows: int) -> None:
        """Make room for so many rows."""
        spec, more = self._engine.spec, rows - len(self._seen)
        if rows == 0:
            fresh = self._engine.initial(0)
            self._hidden, self._log_z = fresh.hidden, fresh.log_z
            self._top = np.zeros((0, spec.top_k), np.int32)
            self._live_top = np.zeros((0, self._live.spec.top_k), np.int32)
        elif more > 0:
            fresh = self._engine.initial(more)
            self._seen = np.concatenate([self._seen, np.zeros(more, np.int64)])
            self._hidden = np.concatenate([self._hidden, fresh.hidden])
            self._log_z = np.concatenate([self._log_z, fresh.log_z])
            for name in ("_top", "_live_top"):
                held = getattr(self, name)
                empty = np.full((more, held.shape[1]), -1, np.int32)
                setattr(self, name, np.concatenate([held, empty]))

    def _watch(self, steps: Steps, results: Results, held: Rows, burst_ms: int) -> None:
        of_row: dict[int, list[int]] = {}
        for k, row in enumerate(steps.of("row")):
            if row < WATCHED_ROWS:
                of_row.setdefault(row, []).append(k)
        if not of_row:
            return
        self._size(min(len(held), WATCHED_ROWS))
        index = np.array(list(of_row), np.intp)  # [B] rows
        rows = held[index]
        translated(rows, self._live.spec.actions, self._engine.spec.actions)
        rows = relaid(rows, self._engine.spec)
        totals = rows["events_total"].astype(np.int64)
        sessions = rows["session_events"].astype(np.int64)
        told = history(rows, self._engine, totals, sessions)
        counts = np.array([len(ks) for ks in of_row.values()], np.int64)
        is_late = np.array([any(k in steps.late for k in ks) for ks in of_row.values()])
        follows = self._seen[index] == totals - counts
        follows &= ~is_late & (counts <= told.used) & (totals > counts)
        first = np.where(follows, told.used - counts, 0).astype(np.intp)
        comparison = _Comparison(self, index, of_row, told.used - counts, ~is_late, steps, results)
        refold(
            rows,
            told,
            first,
            self._before(index, follows),
            told.used.astype(np.intp),
            self._engine,
            burst_ms,
            comparison.see,
        )
        self._hidden[index], self._log_z[index] = rows["hidden"], rows["log_z"]
        self._seen[index] = totals

    def _before(self, index: Places, follows: npt.NDArray[np.bool_]) -> Memory:
        fresh = self._engine.initial(len(index))
        hidden: Any = np.where(follows[:, None], self._hidden[index], fresh.hidden)  # [B, H]
        return Memory(hidden, np.where(follows, self._log_z[index], fresh.log_z))

    def compare(self, rows: Places, ks: Places, folded: Folded, at: Places, told: "_Told") -> None:
        """Hold the shadow's answers [b, .] of places ``at`` beside the live model's of steps
        ``ks`` [b]."""
        step, results = folded.step, told.results
        sums = self._sums
        live_top = self._codes[results.top_items[ks]]  # [b, K]
        top = step.top_items[at]  # [b, K']
        both = told.is_open[ks] & (folded.tokens.item[at] < self._engine.spec.item_count)
        item = folded.tokens.item[at][:, None]
        found = {
            "steps": len(ks),
            "divergence": _divergence(results.action_logp[ks], step.action_logp[at], self._actions),
            "overlap": (live_top[:, :, None] == top[:, None, :]).any(axis=2).mean(axis=1).sum(),
            "judged": both.sum(),
            "live_hits": ((self._live_top[rows] == item).any(axis=1) & both).sum(),
            "shadow_hits": ((self._top[rows] == item).any(axis=1) & both).sum(),
        }
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + float(value)
        self._top[rows], self._live_top[rows] = top, live_top


class _Told:
    """What a pass says of its steps: who was judged needs an answer before it in its session."""

    def __init__(self, steps: Steps, results: Results, live: Engine) -> None:
        known = steps.columns["item"] < live.spec.item_count
        self.results, self.is_open = results, known & ~steps.columns["starts"]


class _Comparison:
    """Finds the live step behind each of the shadow's."""

    def __init__(
        self,
        shadow: Shadow,
        index: Places,
        of_row: dict[int, list[int]],
        before: npt.NDArray[np.int64],
        is_compared: npt.NDArray[np.bool_],
        steps: Steps,
        results: Results,
    ) -> None:
        self._shadow, self._index, self._before = shadow, index, before
        self._ks, self._is_compared = list(of_row.values()), is_compared
        self._told = _Told(steps, results, shadow._live)
        # Only what followed an answer that both gave is judged.
        new = shadow._seen[index] == 0
        shadow._top[index[new]] = shadow._live_top[index[new]] = -1

    def see(self, folded: Folded) -> None:
        number = folded.ranks - self._before[folded.lanes]  # of the user's steps of this pass
        at = np.flatnonzero((number >= 0) & self._is_compared[folded.lanes])
        if len(at):
            lanes = folded.lanes[at]
            pairs = zip(lanes.tolist(), number[at].tolist(), strict=True)
            ks = np.array([self._ks[lane][n] for lane, n in pairs], np.intp)
            self._shadow.compare(self._index[lanes], ks, folded, at, self._told)


def _divergence(live: Floats, shadow: Floats, actions: npt.NDArray[np.float64]) -> float:
    """Sum over rows of KL(live || shadow) in nats from log-probabilities [b, A] and [b, A'], where
    names that the shadow lacks count as other: ``actions`` [A, A'] maps them."""
    p = np.exp(live.astype(np.float64)) @ actions  # [b, A']
    log_p = np.log(np.maximum(p, 1e-300))  # p = 0 contributes nothing
    return float(np.sum(p * (log_p - shadow)))
