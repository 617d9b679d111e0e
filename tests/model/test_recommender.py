"""Every recommender keeps the one contract; ranks by parts equal ranks at once."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.factorisation import FactorConfig, Factors
from model.item_vectors import SimilarItems
from model.log import EventLog
from model.neighbours import NeighbourConfig, Neighbours
from model.nets import GruNet
from model.popularity import Popularity
from model.questions import part_of, questions_of, seen_before
from model.ranking import MISS, worst_ranks
from model.recommender import Recommender, ranks_in, ranks_of, user_firsts
from model.rules import RuleConfig, Rules
from model.scoring import NetRecommender
from tests.model.logs import learnable_log, logs, spec_of

SPEC = spec_of(items=6)
TRAIN = learnable_log(SPEC, users=20)


def vectors() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


RECOMMENDERS: dict[str, Callable[[], Recommender]] = {
    "popular": lambda: Popularity(TRAIN, SPEC, staleness=2.0),
    "rules": lambda: Rules(TRAIN, SPEC, RuleConfig(newest_items=3, staleness=1.0)),
    "neighbours": lambda: Neighbours(TRAIN, SPEC, NeighbourConfig(distance=2.0)),
    "similar": lambda: SimilarItems(vectors(), SPEC),
    "als": lambda: Factors(TRAIN, SPEC, "als", FactorConfig(width=4, iterations=2)),
    "bpr": lambda: Factors(TRAIN, SPEC, "bpr", FactorConfig(width=4, iterations=2)),
    "net": lambda: NetRecommender(GruNet(SPEC, torch.Generator().manual_seed(1)), SPEC),
}


@pytest.mark.parametrize("name", RECOMMENDERS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_row_depends_on_its_own_past_alone(name: str, data: st.DataObject) -> None:
    recommender = RECOMMENDERS[name]()
    log = data.draw(logs(SPEC, min_events=2))
    questions = questions_of(log, SPEC, "session")
    scores = recommender.scores(log, questions)
    assert scores.shape == (len(questions.event), 6)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    for row, event in enumerate(questions.event):
        alone = part_of(questions, np.array([row]))
        # What comes later, and what is asked for, are not looked at.
        item = log.item.copy()
        item[event:] = (item[event:] + 1) % SPEC.item_count
        changed = type(log)(**{n: getattr(log, n) for n in log.__struct_fields__} | {"item": item})
        again = recommender.scores(changed, alone)
        np.testing.assert_allclose(again[0], scores[row], rtol=1e-4, atol=1e-4)


class Fixed:
    """Scores that say nothing but differ by question."""

    def scores(self, log: EventLog, questions: object) -> np.ndarray:  # type: ignore[type-arg]
        events = questions.event  # type: ignore[attr-defined]
        return np.array([np.random.default_rng(e).integers(3, size=6) for e in events], np.float32)


@pytest.mark.parametrize("filter_seen", [False, True])
def test_ranks_are_those_of_all_scores_at_once(
    filter_seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = learnable_log(SPEC, users=10, seed=2)
    questions = questions_of(log, SPEC, "session")
    scores = Fixed().scores(log, questions)
    if filter_seen:
        for row, event in enumerate(questions.event):
            scores[row, seen_before(log, SPEC, event, user_firsts(log)[event])] = -np.inf
    hidden = scores[np.arange(len(scores)), questions.target] == -np.inf
    wanted = np.where(hidden, MISS, worst_ranks(scores, questions.target))
    monkeypatch.setattr("model.recommender.SCORES", 20)
    told: list[int] = []
    found = ranks_of(
        Fixed(), log, SPEC, questions, filter_seen=filter_seen, on_progress=told.append
    )
    np.testing.assert_array_equal(found, wanted)
    assert sum(told) == len(found)


def test_unknown_targets_are_misses() -> None:
    ranks = ranks_in(np.zeros((2, 3), np.float32), np.array([3, 1], np.int32))
    assert ranks.tolist() == [MISS, 3]
