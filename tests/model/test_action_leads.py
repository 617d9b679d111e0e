"""Marks under weights are scikit-learn's on questions that are repeated as often, and a lead's
interval holds where a contestant is better in truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sklearn.metrics import f1_score, roc_auc_score

from model.action_leads import (
    LEANING_F1,
    LIKELIHOOD,
    MACRO_AUC,
    MACRO_F1,
    Judged,
    leads_over,
    leads_table,
)
from model.log import Longs
from model.spec import Floats, Ints

ACTIONS = ("_close", "other", "view", "cart")


def answers(seed: int, questions: int, skill: float) -> tuple[Floats, Ints]:
    """Log-probabilities with many ties [P, 4], and the actions that came [P]."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 2, 3], questions, p=[0.2, 0.7, 0.1]).astype(np.int32)
    scores = rng.integers(0, 4, (questions, 4)).astype(np.float64)
    scores[np.arange(questions), truth] += skill
    voice = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return voice.astype(np.float32), truth


def judged(voice: Floats, truth: Ints) -> Judged:
    return Judged(voice, truth, (voice - np.float32([0, 0, 1, 0])).argmax(axis=1))


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 60))
def test_a_weight_is_so_many_equal_questions(seed: int, questions: int) -> None:
    voice, truth = answers(seed, questions, 1.0)
    weight: Longs = np.random.default_rng(seed).integers(0, 4, questions)
    weight[0] += 1
    again = np.repeat(np.arange(questions), weight)
    said, came = voice[again], truth[again]
    found = judged(voice, truth).marks(weight.astype(np.float64))
    assert found[LIKELIHOOD] == pytest.approx(said[np.arange(len(came)), came].mean(), abs=1e-5)
    classes = np.unique(came)
    for name, answer in (
        (MACRO_F1, said.argmax(axis=1)),
        (LEANING_F1, (said - np.float32([0, 0, 1, 0])).argmax(axis=1)),
    ):
        macro = f1_score(came, answer, labels=classes, average="macro", zero_division=0)
        assert found[name] == pytest.approx(macro)
    if len(classes) > 1:
        aucs = {code: roc_auc_score(came == code, said[:, code]) for code in classes}
        assert found[MACRO_AUC] == pytest.approx(np.mean(list(aucs.values())))
        for code, auc in aucs.items():
            assert found[f"auc {code}"] == pytest.approx(auc)


def test_who_is_better_leads_and_nobody_leads_himself() -> None:
    (good, truth), (poor, _) = answers(1, 900, 2.0), answers(1, 900, 0.0)
    session = np.repeat(np.arange(90), 10)
    both = {"good": judged(good, truth), "poor": judged(poor, truth)}
    leads = leads_over(both, ("good",), ("poor", "good"), session)["good"]
    for mark, found in leads["poor"].items():
        assert 0 < found["low"] < found["value"] < found["high"], mark
    for found in leads["good"].values():
        assert found == {"value": 0, "low": 0, "high": 0}
    console = Console(width=80, record=True)
    console.print(leads_table("good", leads, ACTIONS))
    shown = console.export_text()
    assert "AUC cart" in shown and "log likelihood" in shown and "…" not in shown


def test_one_action_has_no_auc() -> None:
    voice, truth = answers(1, 20, 1.0)
    assert set(judged(voice, np.full_like(truth, 2)).marks(np.ones(20))) == {
        LIKELIHOOD,
        MACRO_F1,
        LEANING_F1,
    }
