"""The trees learn whom to trust; the same data gives the same text."""

import numpy as np

from model.ranker import Ranker, fit_ranker
from tests.model.blends import examples
from tests.model.test_pool import hit_rate


def test_the_trees_beat_the_members() -> None:
    learned, asked = examples(seed=1), examples(seed=2)
    text = fit_ranker(learned.candidates, learned.target)
    scores = Ranker(text).score(asked.candidates.features)
    alone = [hit_rate(asked.candidates.features[:, k], asked) for k in range(2)]
    assert hit_rate(scores, asked) > max(alone) + 0.1
    assert fit_ranker(learned.candidates, learned.target) == text
    np.testing.assert_array_equal(Ranker(text).score(asked.candidates.features), scores)
