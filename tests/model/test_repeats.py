"""Logs without repeats get no repeats recommended."""

import pytest

from model.popularity import Popularity
from model.questions import newest_items, questions_of
from model.repeats import WithoutPresent, repeat_share
from tests.model.logs import log_of, spec_of

SPEC = spec_of(items=4)


def test_repeats_are_counted_within_a_memory() -> None:
    log = log_of([[[(1, 2), (1, 2), (2, 2)], [(2, 2), (3, 2)]]], SPEC)
    assert repeat_share(log, SPEC) == pytest.approx(1 / 3)
    assert repeat_share(log_of([], SPEC), SPEC) == 0


def test_the_present_item_comes_last() -> None:
    log = log_of([[[(1, 2), (2, 2), (0, 2)]], [[(SPEC.no_item, 2), (0, 2)]]], SPEC)
    questions = questions_of(log, SPEC, "session")
    scores = WithoutPresent(Popularity(log, SPEC), SPEC).scores(log, questions)
    present = newest_items(log, SPEC, questions, 1)[:, 0]
    for row, item in zip(scores, present, strict=True):
        assert item < 0 or row[item] == row.min()
    assert (scores[2] == Popularity(log, SPEC).fame).all()
