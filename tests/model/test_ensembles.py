"""Ensembles by hand, and fused ranks whatever the scale of the scores."""

import numpy as np
import pytest

from model.candidates import Member
from model.ensembles import average, fused, joint_ranks
from model.popularity import Popularity
from model.questions import questions_of
from model.recommender import ranks_of
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


@pytest.mark.parametrize("filter_seen", [False, True])
def test_an_ensemble_of_one_ranks_as_that_one(
    filter_seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.recommender.SCORES", 40)  # several parts
    questions = questions_of(LOG, SPEC, "session")
    members = [Member("rules", Rules(LOG, SPEC)), Member("popular", Popularity(LOG, SPEC))]
    done: list[int] = []
    found = joint_ranks(
        members,
        lambda said, part: {"alone": average([said["rules"]]), "both": fused([*said.values()])},
        LOG,
        SPEC,
        questions,
        filter_seen=filter_seen,
        on_progress=done.append,
    )
    assert len(done) > 3
    assert list(found) == ["rules", "popular", "alone", "both"]
    alone = ranks_of(members[0].recommender, LOG, SPEC, questions, filter_seen=filter_seen)
    np.testing.assert_array_equal(found["rules"], alone)
    np.testing.assert_array_equal(found["alone"], alone)
    assert len(found["both"]) == len(questions.event)
