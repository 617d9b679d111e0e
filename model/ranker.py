"""A learned ranker: gradient-boosted trees over what the members say of a candidate.

LambdaMART (Burges, "From RankNet to LambdaRank to LambdaMART", 2010), by LightGBM, on the position
of the one relevant candidate of each question.
"""

from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from model.candidates import Candidates
from model.spec import Floats

# Small steps and strong leaves: a held-out tail is a small training set.
_PARAMETERS: dict[str, Any] = {
    "objective": "lambdarank",
    "lambdarank_truncation_level": 20,
    "learning_rate": 0.08,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "lambda_l2": 5.0,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "max_bin": 127,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "verbosity": -1,
}
ROUNDS = 90


def fit_ranker(candidates: Candidates, target: npt.NDArray[np.bool_]) -> str:
    """Trees as LightGBM's text; ``target`` [C] marks the candidates that came next."""
    answered = np.isin(candidates.question, candidates.question[target])
    _, sizes = np.unique(candidates.question[answered], return_counts=True)
    told = lightgbm.Dataset(
        candidates.features[answered], target[answered].astype(np.int32), group=sizes
    )
    text: str = lightgbm.train(_PARAMETERS, told, ROUNDS).model_to_string()
    return text


class Ranker:
    """Trees that ``fit_ranker`` made."""

    def __init__(self, text: str) -> None:
        self.trees = lightgbm.Booster(model_str=text)

    def score(self, features: Floats) -> Floats:
        """Scores [C] of candidates with features [C, F]; only their order counts."""
        return np.asarray(self.trees.predict(features, raw_score=True, num_threads=1), np.float32)
