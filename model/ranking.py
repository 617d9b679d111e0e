"""Ranks under full ranking, and the metrics that are made of them.

Every known item takes part (Krichene & Rendle, "On sampled metrics for item recommendation", KDD
2020, on why). Ties are ranked worst, so that a constant scorer gets no credit.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from model.log import Longs

CUTS = (1, 5, 10, 20)
MISS = np.iinfo(np.int64).max


def worst_ranks(scores: npt.NDArray[Any], targets: npt.NDArray[np.integer[Any]]) -> Longs:
    """Ranks [M], from 1, of the items ``targets`` [M] under ``scores`` [M, V]: the number of items
    that are not strictly behind. A NaN counts as ahead of everything, a NaN target as last."""
    given = np.take_along_axis(scores, np.asarray(targets)[:, None], axis=1)  # [M, 1]
    ahead: Longs = scores.shape[1] - np.count_nonzero(scores < given, axis=1)
    return ahead


def metrics_of(ranks: Longs) -> dict[str, float | int]:
    """Recall, MRR and NDCG at each of ``CUTS``, with one relevant item each, and their number
    ``n``. Ranks [M] count from 1; ``MISS`` stands for a target that cannot be ranked.

    Raises ValueError without a single rank.
    """
    if len(ranks) == 0:
        raise ValueError("the log holds no next item to predict; give one with longer sessions")
    table: dict[str, float | int] = {}
    for cut in CUTS:
        hits = ranks[ranks <= cut].astype(np.float64)
        table[f"recall@{cut}"] = len(hits) / len(ranks)
        table[f"mrr@{cut}"] = float((1 / hits).sum()) / len(ranks)
        table[f"ndcg@{cut}"] = float((1 / np.log2(hits + 1)).sum()) / len(ranks)
    table["n"] = len(ranks)
    return table
