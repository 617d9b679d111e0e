"""A log-linear pool: members' log-shares added with weights that depend on the question.

The weights are fitted by maximum likelihood among the candidates, with a ridge (Heskes, "Selecting
weighting factors in logarithmic opinion pools", NIPS 1997, on why a product of experts).
"""

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from model.candidates import CONTEXT, Candidates
from model.log import Longs
from model.spec import Floats

Doubles = npt.NDArray[np.float64]

# Upper bounds of log(1 + items in memory) and of the log frequency of the last item.
_LENGTHS = tuple(np.log1p((1, 2, 4)).tolist())
_FAMES = tuple(np.log1p((10, 50, 250)).tolist())


class Pool(msgspec.Struct, frozen=True):
    """Weights of the pooled columns in each context; contexts add up."""

    weights: list[list[float]]  # [contexts, columns]
    mean: list[float]  # [columns]
    spread: list[float]  # [columns]


def fit_pool(candidates: Candidates, target: npt.NDArray[np.bool_], ridge: float = 1.0) -> Pool:
    """Weights under which the targets [C] are likeliest. Questions whose target is no candidate
    teach nothing."""
    answered = np.isin(candidates.question, candidates.question[target])
    columns = _columns(candidates.features[answered])
    mean, spread = columns.mean(axis=0), columns.std(axis=0) + 1e-6
    columns = (columns - mean) / spread
    contexts = _contexts(candidates.features[answered])
    question = candidates.question[answered]
    first = np.flatnonzero(np.diff(question, prepend=-1))
    hit = target[answered]
    shape = (contexts.shape[1], columns.shape[1])

    def loss(flat: Doubles) -> tuple[float, Doubles]:
        weights = flat.reshape(shape)
        scores = np.einsum("cf,cf->c", contexts @ weights, columns)
        share = _softmax(scores, first)
        wrong = (share - hit) / len(first)
        gradient = contexts.T @ (columns * wrong[:, None]) + ridge / len(first) * weights
        penalty = ridge / (2 * len(first)) * float((weights**2).sum())
        return -float(np.log(share[hit] + 1e-12).mean()) + penalty, gradient.ravel()

    start = np.zeros(shape)
    start[0, : shape[1] - 3] = 1 / shape[1]
    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 150})
    return Pool(found.x.reshape(shape).tolist(), mean.tolist(), spread.tolist())


def pooled(pool: Pool, features: Floats) -> Floats:
    """Scores [C] of candidates with features [C, F]: log-probabilities but for a constant in each
    question."""
    columns = (_columns(features) - pool.mean) / pool.spread
    weights = _contexts(features) @ np.array(pool.weights)
    scores: Floats = np.einsum("cf,cf->c", weights, columns).astype(np.float32)
    return scores


def _columns(features: Floats) -> Doubles:
    """The members' log-shares, and what is told of the candidate itself. [C, columns]"""
    members = (features.shape[1] - len(CONTEXT)) // 2
    at = {name: members + place for place, name in enumerate(CONTEXT)}
    own = [at[name] for name in ("is_last", "in_memory", "recent_fame")]
    return features[:, [*range(members), *own]].astype(np.float64)


def _contexts(features: Floats) -> Doubles:
    """One-hot contexts of each candidate's question, and a constant. [C, contexts]"""
    members = (features.shape[1] - len(CONTEXT)) // 2
    length = features[:, members + CONTEXT.index("length")]
    fame = features[:, members + CONTEXT.index("last_fame")]
    by_length = np.searchsorted(_LENGTHS, length - 1e-6)
    by_fame = np.searchsorted(_FAMES, fame - 1e-6)
    return np.concatenate(
        [
            np.ones((len(features), 1)),
            np.eye(len(_LENGTHS) + 1)[by_length],
            np.eye(len(_FAMES) + 1)[by_fame],
        ],
        axis=1,
    )


def _softmax(scores: Doubles, first: Longs) -> Doubles:
    """Shares within stretches that begin at ``first``."""
    sizes = np.diff(np.append(first, len(scores)))
    weights = np.exp(scores - np.repeat(np.maximum.reduceat(scores, first), sizes))
    shares: Doubles = weights / np.repeat(np.add.reduceat(weights, first), sizes)
    return shares
