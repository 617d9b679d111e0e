"""How much was predicted, and how much came: numbers of events, not ranks."""

import numpy as np
import numpy.typing as npt

from model.data import NONE
from model.spec import Floats, Ints

# Bins of a factor two in what was predicted of an item.
_FEWEST = 2.0**-6


def by_class(logits: Floats, targets: Ints) -> list[dict[str, float]]:
    """Of each class how often it was ``predicted`` (its probabilities, summed) and how often it
    came (``actual``). logits [P, C], targets [P], NONE where unknown; empty without a target."""
    known = targets != NONE
    if not known.any():
        return []
    scores = logits[known].astype(np.float64)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))  # [p, C]
    shares /= shares.sum(axis=1, keepdims=True)
    came = np.bincount(targets[known], minlength=logits.shape[1])
    return [
        {"predicted": float(predicted), "actual": int(actual)}
        for predicted, actual in zip(shares.sum(axis=0), came, strict=True)
    ]


def by_item(expected: npt.NDArray[np.float64], targets: Ints) -> list[dict[str, float]]:
    """Items that were predicted about equally often, together: their number ``items``, and the mean
    of what was ``predicted`` and of what came (``actual``) of each. expected [V] is the sum of an
    item's probabilities over the questions, targets [M] are their answers."""
    known = targets[targets < len(expected)]
    came = np.bincount(known, minlength=len(expected))
    place = np.floor(np.log2(np.maximum(expected, _FEWEST) / _FEWEST)).astype(np.int64)
    number = np.bincount(place)
    predicted = np.bincount(place, weights=expected)
    actual = np.bincount(place, weights=came)
    return [
        {
            "items": int(number[bin_]),
            "predicted": float(predicted[bin_] / number[bin_]),
            "actual": float(actual[bin_] / number[bin_]),
        }
        for bin_ in np.flatnonzero(number)
    ]
