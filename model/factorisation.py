"""Matrix factorisation of sessions by items, by the library ``implicit``.

ALS for implicit feedback (Hu, Koren & Volinsky, ICDM 2008) and BPR (Rendle et al., UAI 2009). A
session that training has not seen gets its factors from its own items: by the least squares of
ALS, or as the mean of their factors for BPR, which has no closed form.
"""

from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy import sparse
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from model.data import memory_starts, stretch_of
from model.log import EventLog
from model.questions import Questions, newest_items
from model.spec import Floats, ModelSpec

FactorMethod = Literal["als", "bpr"]
FACTOR_METHODS: tuple[FactorMethod, ...] = ("als", "bpr")
Doubles = npt.NDArray[np.float64]


class FactorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How factors are learned; ``newest_items`` of a memory stand for it."""

    width: int = 64
    iterations: int = 15
    regularisation: float = 0.01
    alpha: float = 10.0
    newest_items: int = 10
    decay: float = 0.7
    seed: int = 1


class Factors:
    """A recommender by factors of items [V, D] that sessions by items gave."""

    def __init__(
        self,
        log: EventLog,
        spec: ModelSpec,
        method: FactorMethod,
        config: FactorConfig | None = None,
    ) -> None:
        self.spec, self.method = spec, method
        self.config = FactorConfig() if config is None else config
        self.items = _item_factors(_table(log, spec), method, self.config)  # [V, D]
        self.square = self.items.T @ self.items  # [D, D]

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """What ``Recommender.scores`` promises."""
        items = newest_items(log, self.spec, questions, self.config.newest_items)
        weight = np.where(items >= 0, self.config.decay ** np.arange(items.shape[1]), 0)
        held = self.items[np.maximum(items, 0)]  # [M, L, D]
        if self.method == "bpr":
            taste = np.einsum("ml,mlw->mw", weight, held)
        else:
            taste = self._least_squares(held, self.config.alpha * weight)
        scores: Floats = taste.astype(np.float32) @ self.items.T
        return scores

    def _least_squares(self, held: Floats, weight: Doubles) -> Doubles:
        """Factors [M, D] of sessions with items [M, L, D] of confidence 1 + weight [M, L]."""
        ridge = self.square + self.config.regularisation * np.eye(self.items.shape[1])
        left = ridge + np.einsum("ml,mlv,mlw->mvw", weight, held, held, optimize=True)
        right = np.einsum("ml,mlw->mw", np.where(weight > 0, 1 + weight, 0), held)
        solved: Doubles = np.linalg.solve(left, right[:, :, None])[:, :, 0]
        return solved


def _table(log: EventLog, spec: ModelSpec) -> sparse.csr_matrix:
    """Clicks of sessions [S, V]: of each memory on each known item."""
    known = np.flatnonzero(log.item < spec.item_count)
    bounds = memory_starts(log, spec)
    memory = stretch_of(bounds, log.events)[known]
    return sparse.csr_matrix(
        (np.ones(len(known), np.float32), (memory, log.item[known])),
        shape=(len(bounds) - 1, spec.item_count),
    )


def _item_factors(table: sparse.csr_matrix, method: FactorMethod, config: FactorConfig) -> Floats:
    settings: dict[str, Any] = {
        "factors": config.width,
        "iterations": config.iterations if method == "als" else 6 * config.iterations,
        "regularization": config.regularisation,
        "random_state": config.seed,
        "num_threads": 1,
    }
    # implicit warns of a BLAS that brings threads of its own into its loops.
    with threadpool_limits(1, "blas"):
        learner = (
            AlternatingLeastSquares(alpha=config.alpha, **settings)
            if method == "als"
            else BayesianPersonalizedRanking(**settings)
        )
        learner.fit(table, show_progress=False)
    # BPR's last factor is the item's bias, which meets a constant one in every session.
    factors = np.asarray(learner.item_factors, np.float32)
    return factors if method == "als" else np.ascontiguousarray(factors[:, : config.width])
