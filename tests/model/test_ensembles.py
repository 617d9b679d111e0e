"""Ensembles by hand, and fused ranks whatever the scale of the scores."""

import numpy as np
import pytest

from model.candidates import Member
from model.ensembles import LogitAverage, RankFusion, average, fused
from model.popularity import Popularity
from model.questions import questions_of
from model.rules import Rules
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of(items=6)
LOG = learnable_log(SPEC, users=10)


def test_fused_ranks_by_hand() -> None:
    one = np.array([[3.0, 1.0, 2.0]], np.float32)
    two = np.array([[1.0, 1.0, 9.0]], np.float32)
    wanted = [1 / 61 + 1 / 62, 1 / 63 + 1 / 62, 1 / 62 + 1 / 61]
    assert fused([one, two])[0] == pytest.approx(wanted)
    np.testing.assert_allclose(fused([one * 1e3, two - 5]), fused([one, two]))


def test_averages_are_means() -> None:
    assert average([np.array([[1.0, 3.0]]), np.array([[3.0, 5.0]])]).tolist() == [[2.0, 4.0]]


@pytest.mark.parametrize("ensemble", [LogitAverage, RankFusion])
def test_an_ensemble_of_one_ranks_as_that_one(ensemble: type) -> None:
    questions = questions_of(LOG, SPEC, "session")
    rules = Rules(LOG, SPEC)
    alone = rules.scores(LOG, questions)
    found = ensemble([Member("rules", rules)]).scores(LOG, questions)
    order = np.argsort(-alone, axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(found, order, axis=1), axis=1) <= 0).all()
    both = ensemble([Member("rules", rules), Member("popular", Popularity(LOG, SPEC))])
    assert both.scores(LOG, questions).shape == alone.shape
