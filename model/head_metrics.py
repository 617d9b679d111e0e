"""How good the action head and the intent heads are, by scikit-learn's definitions."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from model.data import NONE
from model.reliability import reliability
from model.spec import Floats, Ints


def action_metrics(logits: Floats, targets: Ints) -> dict[str, Any]:
    """Accuracy, and macro precision, recall, F1 and one-against-rest AUC over the actions that
    occur among the targets. logits [P, A], targets [P], NONE where unknown.

    ``classes`` are their codes, and row r of ``confusion`` counts what was answered where
    ``classes[r]`` was right (answers outside ``classes`` are counted nowhere there). ``ece`` and
    ``curve`` are those of the likeliest action. ``macro_auc`` is None where a single action
    occurs; without any target only ``n`` = 0 is given.
    """
    known = targets != NONE
    truth, scores = targets[known], logits[known]
    if len(truth) == 0:
        return {"n": 0}
    answered = scores.argmax(axis=1)
    classes = np.unique(truth)
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, answered, labels=classes, average="macro", zero_division=0
    )
    shares = _softmax(scores)
    aucs = [roc_auc_score(truth == c, shares[:, c]) for c in classes if len(classes) > 1]
    return {
        "n": len(truth),
        "accuracy": float(accuracy_score(truth, answered)),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
        "macro_auc": float(np.mean(aucs)) if aucs else None,
        "auc": {str(c): float(auc) for c, auc in zip(classes, aucs, strict=False)},
        "classes": classes.tolist(),
        "confusion": [
            [int(((truth == row) & (answered == column)).sum()) for column in classes]
            for row in classes
        ],
        **reliability(shares.max(axis=1), answered == truth),
    }


def intent_metrics(logits: Floats, targets: Ints) -> dict[str, Any]:
    """Precision, recall and F1 at a probability of one half, AUC and average precision of one
    intent. logits [P], targets [P] of 0 and 1, NONE where unknown.

    AUC and average precision are None where only one of the two answers occurs; ``ece`` and
    ``curve`` compare the probability with how often the intent came true. Without any target only
    ``n`` = 0 is given.
    """
    known = targets != NONE
    truth, scores = targets[known], logits[known]
    if len(truth) == 0:
        return {"n": 0}
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, scores > 0, average="binary", zero_division=0
    )
    both = 0 < truth.sum() < len(truth)
    return {
        "n": len(truth),
        "share": float(truth.mean()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "auc": float(roc_auc_score(truth, scores)) if both else None,
        "average_precision": float(average_precision_score(truth, scores)) if both else None,
        **reliability(_sigmoid(scores), truth == 1),
    }


def _softmax(logits: Floats) -> npt.NDArray[np.float64]:
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _sigmoid(logits: Floats) -> npt.NDArray[np.float64]:
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))
