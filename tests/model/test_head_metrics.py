"""The heads' metrics by hand, and where they are undefined."""

import numpy as np
import pytest

from model.data import NONE
from model.head_metrics import action_metrics, intent_metrics


def test_action_metrics_by_hand() -> None:
    logits = np.log(
        np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.0001, 0.2, 0.9]])
    )
    table = action_metrics(logits.astype(np.float32), np.array([0, 1, 1, NONE], np.int32))
    assert table["n"] == 3
    assert table["accuracy"] == pytest.approx(2 / 3)
    assert table["macro_precision"] == pytest.approx((1 / 2 + 1) / 2)
    assert table["macro_recall"] == pytest.approx((1 + 1 / 2) / 2)
    assert table["macro_f1"] == pytest.approx(2 / 3)
    assert table["macro_auc"] == pytest.approx(1.0)
    assert table["auc"] == pytest.approx({"0": 1.0, "1": 1.0})
    assert table["classes"] == [0, 1]
    assert table["confusion"] == [[1, 0], [1, 1]]
    assert [row["n"] for row in table["curve"]] == [1, 1, 1]
    assert table["ece"] == pytest.approx((0.3 + 0.6 + 0.2) / 3)


def test_one_action_has_no_auc() -> None:
    table = action_metrics(np.zeros((2, 3), np.float32), np.array([0, 0], np.int32))
    assert table["accuracy"] == 1.0
    assert table["macro_auc"] is None


def test_intent_metrics_by_hand() -> None:
    logits = np.array([2.0, 1.0, -1.0, -2.0, 9.0], np.float32)
    table = intent_metrics(logits, np.array([1, 0, 1, 0, NONE], np.int32))
    assert 0 < table.pop("ece") < 1
    assert sum(row["n"] for row in table.pop("curve")) == 4
    assert table == {
        "n": 4,
        "share": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "auc": 0.75,
        "average_precision": pytest.approx((1 + 2 / 3) / 2),
    }


@pytest.mark.parametrize("answer", [0, 1])
def test_one_answer_has_no_auc(answer: int) -> None:
    table = intent_metrics(np.zeros(3, np.float32), np.full(3, answer, np.int32))
    assert table["auc"] is None
    assert table["average_precision"] is None


def test_no_targets_are_said_to_be_none() -> None:
    assert action_metrics(np.zeros((2, 3), np.float32), np.full(2, NONE, np.int32)) == {"n": 0}
    assert intent_metrics(np.zeros(2, np.float32), np.full(2, NONE, np.int32)) == {"n": 0}
