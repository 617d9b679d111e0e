"""Candidates are the members' best, and their features say what the members said."""

import numpy as np
import pytest

from model.candidates import CONTEXT, candidates_of, feature_names, member_scores
from model.questions import newest_items, questions_of
from tests.model.blends import SPEC, half_known_log, halves, known_fame

LOG = half_known_log(20, 3)
QUESTIONS = questions_of(LOG, SPEC, "session")
SHARES = member_scores(halves(), LOG, QUESTIONS)
FOUND = candidates_of(SHARES, known_fame(), LOG, SPEC, QUESTIONS, 5)


def test_each_member_brings_its_best() -> None:
    for row in range(len(QUESTIONS.event)):
        items = FOUND.item[FOUND.question == row]
        best = {int(i) for share in SHARES for i in np.argsort(-share[row])[:5]}
        assert set(items.tolist()) == best
        assert items.tolist() == sorted(items)


def test_features_are_what_their_names_say() -> None:
    names = feature_names(halves())
    column = dict(zip(names, FOUND.features.T, strict=True))
    assert len(names) == FOUND.features.shape[1]
    np.testing.assert_allclose(column["odd.log_share"], SHARES[1][FOUND.question, FOUND.item])
    held = newest_items(LOG, SPEC, QUESTIONS, 20)
    inside = (held[FOUND.question] == FOUND.item[:, None]).any(axis=1)
    np.testing.assert_array_equal(column["in_memory"].astype(bool), inside)
    np.testing.assert_array_equal(
        column["is_last"].astype(bool), held[FOUND.question, 0] == FOUND.item
    )
    for row in range(3):
        own = FOUND.question == row
        order = np.argsort(-column["even.log_share"][own])
        assert column["even.rank"][own][order].tolist() == [*range(1, own.sum() + 1)]
    assert set(CONTEXT) < set(names)


def test_log_shares_are_shares() -> None:
    for share in SHARES:
        assert np.exp(share).sum(axis=1) == pytest.approx(1, abs=1e-2)


def test_few_items_are_all_candidates() -> None:
    few = candidates_of(SHARES, known_fame(), LOG, SPEC, QUESTIONS, 100)
    assert len(few.item) == 60 * len(QUESTIONS.event)
