"""A saved model's figures: honest counts, baselines beside them, and clear refusals."""

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from model.checkpoint import CheckpointError
from model.config import TrainConfig
from model.data import DataError
from model.evaluate import EvaluationError, evaluate, table
from model.train import train
from tests.model.logs import learnable_log, log_of, spec_of

SPEC = spec_of(items=40, width=16)
ITEMS = tuple(f"i{n}" for n in range(40))
TEST = learnable_log(SPEC, users=40, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    config = TrainConfig(epochs=25, threads=1, batch_sequences=16, learning_rate=1e-2)
    train(learnable_log(SPEC, users=120), SPEC, ITEMS, config, out)
    return out


def test_model_and_baselines_stand_side_by_side(folder: Path) -> None:
    result = evaluate(folder, TEST)
    assert result["n"] == TEST.events - TEST.sessions
    assert result["recall@1"] > 0.7  # nine in ten follow the rule
    assert result["baselines"]["markov"]["recall@1"] > 0.7
    assert result["baselines"]["popular"]["recall@1"] < 0.3
    for row in (result, *result["baselines"].values()):
        for metric in ("recall", "mrr", "ndcg"):
            values = [row[f"{metric}@{k}"] for k in (1, 5, 10, 20)]
            assert values == sorted(values)
        assert row["n"] == result["n"]


def test_heads_are_measured(folder: Path) -> None:
    result = evaluate(folder, TEST)
    assert result["action"]["n"] == TEST.events
    assert result["action"]["accuracy"] > 0.4
    assert result["purchase"]["n"] == TEST.events
    assert result["purchase"]["auc"] > 0.6  # a cart event brings a purchase
    assert 0 < result["cart"]["share"] < 1


def test_targets_unknown_to_training_are_misses(folder: Path) -> None:
    cold = msgspec.structs.replace(TEST, item=TEST.item.copy())
    rng = np.random.default_rng(1)
    hidden = rng.random(TEST.events) < 0.3
    cold.item[hidden] = SPEC.item_count
    result = evaluate(folder, cold)
    first = np.zeros(TEST.events, bool)
    first[TEST.session_start[:-1]] = True
    assert result["n"] == TEST.events - TEST.sessions
    assert result["unknown_target_share"] == pytest.approx(hidden[~first].mean())
    assert result["recall@20"] <= 1 - result["unknown_target_share"]
    assert result["baselines"]["popular"]["recall@20"] <= 1 - result["unknown_target_share"]


def test_leave_one_out_asks_once_a_user(folder: Path) -> None:
    result = evaluate(folder, TEST, "leave-one-out")
    assert result["n"] == len(TEST.user_start) - 1
    assert result["action"]["n"] == result["n"]


def test_filtering_seen_items_makes_repeats_misses(folder: Path) -> None:
    log = log_of([[[(1, 2), (2, 2), (1, 2)]]], SPEC)
    result = evaluate(folder, log, filter_seen=True)
    assert result["n"] == 2
    assert result["recall@20"] <= 0.5
    assert result["baselines"]["markov"]["recall@20"] <= 0.5


def test_progress_and_table_are_shown(folder: Path) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    result = evaluate(folder, TEST, console=console)
    assert result["published"] is None
    anchor = {"system": "SYS", "metrics": {"mrr@20": 0.654}, "source": "somewhere"}
    console.print(table(result | {"published": {"name": "a split", "anchors": [anchor]}}))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for word in ("baselines", "markov", "popular", "recall@20", "unknown", "SYS", "0.6540"):
        assert word in text


def test_nothing_to_ask_is_an_error(folder: Path) -> None:
    for log in (log_of([], SPEC), log_of([[[(1, 2)]], [[(2, 2)]]], SPEC)):
        for protocol in ("session", "leave-one-out"):
            with pytest.raises(EvaluationError, match="no next item to predict"):
                evaluate(folder, log, protocol)  # type: ignore[arg-type]


def test_strangers_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="one of session, leave-one-out"):
        evaluate(folder, TEST, "sampled")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="no model folder"):
        evaluate(tmp_path, TEST)
    other = spec_of(items=90)
    with pytest.raises(DataError, match="item codes"):
        evaluate(folder, learnable_log(other))
