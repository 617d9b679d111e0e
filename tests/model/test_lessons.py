"""What is written down of teachers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from model.data import NONE, targets_of
from model.lessons import LessonsError, asked_of, hear, listed
from model.log import EventLog
from model.nets import GruNet
from model.questions import Questions
from model.scoring import NetRecommender
from model.spec import Floats
from tests.model.logs import learnable_log, logs, spec_of

SPEC = spec_of(items=12)
LOG = learnable_log(SPEC, users=10)


class Counting:
    def __init__(self) -> None:
        self.inner = NetRecommender(GruNet(SPEC, torch.Generator().manual_seed(1)), SPEC)
        self.calls = 0

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        self.calls += 1
        return self.inner.scores(log, questions)


@settings(max_examples=30, deadline=None)
@given(log=logs(spec_of(reset=False), min_events=1))
def test_what_is_asked_is_what_training_asks(log: EventLog) -> None:
    spec = spec_of(reset=False)
    questions, targets = asked_of(log, spec), targets_of(log, spec).item
    assert np.array_equal(questions.after, np.flatnonzero(targets != NONE))
    assert np.array_equal(questions.target, targets[questions.after])
    assert np.array_equal(log.item[questions.event], questions.target)
    for after, last in zip(questions.after, questions.last_item, strict=True):
        user = np.searchsorted(log.session_start[log.user_start], after, side="right") - 1
        past = log.item[log.session_start[log.user_start][user] : after + 1]
        known = past[past < spec.no_item]
        assert last == (known[-1] if len(known) else NONE)


def test_lessons_are_the_teachers_best_items(tmp_path: Path) -> None:
    teacher = Counting()
    lessons = hear(teacher, LOG, SPEC, tmp_path / "lessons.npy", "first")
    questions = asked_of(LOG, SPEC)
    scores = teacher.inner.scores(LOG, questions)
    items, shares = lessons.about(torch.from_numpy(questions.after))
    assert items.shape == (len(questions.after), 12)  # all of the few
    wanted = np.exp(np.take_along_axis(scores, items.numpy(), axis=1))
    np.testing.assert_allclose(shares.numpy(), wanted, atol=2e-3)
    assert (shares.sum(1) <= 1 + 1e-6).all()


def test_lessons_are_read_again_for_the_same_question_alone(tmp_path: Path) -> None:
    teacher = Counting()
    first = hear(teacher, LOG, SPEC, tmp_path / "lessons.npy", "first")
    calls = teacher.calls
    again = hear(teacher, LOG, SPEC, tmp_path / "lessons.npy", "first")
    assert teacher.calls == calls
    assert np.array_equal(first.items, again.items)
    hear(teacher, LOG, SPEC, tmp_path / "lessons.npy", "second")
    assert teacher.calls == 2 * calls
    assert len(list(tmp_path.iterdir())) == 1  # what is of no use any more is gone


def test_the_lists_fit_a_budget() -> None:
    assert listed(1_000, 100_000) == 64
    assert listed(10_000_000, 100_000) * 10_000_000 * 6 <= 512 << 20
    assert listed(10, 5) == 5
    with pytest.raises(LessonsError, match="give a log of at most"):
        listed(1_000_000_000, 100)
