"""A blend is judged by what it has not seen, beats its members, and is the same when read back."""

import msgspec
import numpy as np
import pytest

from model.blend import Blend, BlendConfig, Fitted, fit_blend
from model.candidates import Member
from model.checkpoint import CheckpointError
from model.questions import part_of, questions_of
from model.ranking import metrics_of
from model.recommender import ranks_of
from tests.model.blends import SPEC, Half, examples, half_known_log, halves, known_fame

FITTED = fit_blend(halves(), examples(users=200), BlendConfig(per_member=10))
LOG = half_known_log(40, 9)
QUESTIONS = questions_of(LOG, SPEC, "session")


def test_it_beats_each_member_on_new_sessions() -> None:
    found = metrics_of(ranks_of(Blend(halves(), FITTED, known_fame(), SPEC), LOG, SPEC, QUESTIONS))
    for member in halves():
        alone = metrics_of(ranks_of(member.recommender, LOG, SPEC, QUESTIONS))
        assert found["recall@20"] > alone["recall@20"]
        assert found["mrr@20"] > alone["mrr@20"] + 0.1


def test_it_was_judged_on_the_newer_half() -> None:
    judged = FITTED.judged
    assert set(judged) == {"even", "odd", "blend, pool", "blend, trees", "blend, both"}
    chosen = sum(judged[f"blend, {FITTED.method}"].values())
    assert chosen == max(sum(v.values()) for k, v in judged.items() if k.startswith("blend"))
    assert chosen > max(sum(judged[name].values()) for name in ("even", "odd"))


def test_candidates_come_before_all_others() -> None:
    some = part_of(QUESTIONS, slice(0, 5))
    ranker = Blend(halves(), FITTED, known_fame(), SPEC)
    scores = ranker.scores(LOG, some)
    assert np.isfinite(scores).all()
    for row, member in ((row, m) for row in range(5) for m in halves()):
        own = np.argsort(-member.recommender.scores(LOG, some)[row])[:10]
        assert set(own) <= set(np.argsort(-scores[row])[:20])


def test_round_trip_and_refusals() -> None:
    again = msgspec.json.decode(msgspec.json.encode(FITTED), type=Fitted)
    assert again == FITTED
    one = Blend(halves(), FITTED, known_fame(), SPEC).scores(LOG, QUESTIONS)
    two = Blend(halves(), again, known_fame(), SPEC).scores(LOG, QUESTIONS)
    np.testing.assert_array_equal(one, two)
    with pytest.raises(CheckpointError, match="other members"):
        Blend([Member("stranger", Half(0))], FITTED, known_fame(), SPEC)
