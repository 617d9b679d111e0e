"""Whether probabilities mean what they say: a reliability curve and its expected error."""

from typing import Any

import numpy as np
import numpy.typing as npt

_BINS = 10


def reliability(
    confidence: npt.NDArray[np.floating[Any]], right: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """``ece`` (Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015) over ten bins of equal width, and the ``curve``: of each bin that is not empty its
    mean confidence, the share that was right, and its number. confidence [P] in [0, 1]."""
    if len(confidence) == 0:
        return {"ece": None, "curve": []}
    place = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    number = np.bincount(place, minlength=_BINS)
    sure = np.bincount(place, weights=confidence, minlength=_BINS)
    hits = np.bincount(place, weights=right.astype(np.float64), minlength=_BINS)
    filled = np.flatnonzero(number)
    return {
        "ece": float(np.abs(sure - hits).sum() / len(confidence)),
        "curve": [
            {
                "confidence": float(sure[b] / number[b]),
                "accuracy": float(hits[b] / number[b]),
                "n": int(number[b]),
            }
            for b in filled
        ],
    }
