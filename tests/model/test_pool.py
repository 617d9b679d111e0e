"""The pool learns whom to trust, and makes the targets likelier."""

import numpy as np

from model.pool import fit_pool, pooled
from tests.model.blends import examples


def hit_rate(scores: np.ndarray, found: object) -> float:  # type: ignore[type-arg]
    flat, target = found.candidates, found.target  # type: ignore[attr-defined]
    order = np.lexsort((-scores, flat.question))
    first = order[np.flatnonzero(np.diff(flat.question[order], prepend=-1))]
    return float(target[first].mean())


def test_the_pool_beats_its_parts() -> None:
    learned, asked = examples(seed=1), examples(seed=2)
    pool = fit_pool(learned.candidates, learned.target)
    scores = pooled(pool, asked.candidates.features)
    alone = [hit_rate(asked.candidates.features[:, k], asked) for k in range(2)]
    assert hit_rate(scores, asked) > max(alone) + 0.1
    again = fit_pool(learned.candidates, learned.target)
    assert again == pool
