"""The report is one file that holds what was measured, whatever there was to measure."""

import json
import re
from pathlib import Path

import pytest

from model.config import TrainConfig
from model.evaluate import evaluate
from model.report import report, write_report
from model.train import train
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of(items=20, width=8)
ITEMS = tuple(f"thing-{n}" for n in range(20))
TEST = learnable_log(SPEC, users=20, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    config = TrainConfig(epochs=2, batch_sequences=32, held_out=0.2, refit=False)
    train(learnable_log(SPEC, users=40), SPEC, ITEMS, config, out)
    return out


def test_one_file_with_figures_and_without_ids(folder: Path, tmp_path: Path) -> None:
    metrics = evaluate(folder, TEST)
    write_report(tmp_path / "deep" / "report.html", folder, metrics, ["A <notice>."])
    found = (tmp_path / "deep" / "report.html").read_text()
    assert found.count("<svg") == 8
    assert not re.search(r"thing-|<script|<link|src=|href=\"(?!#)", found)
    assert "A &lt;notice&gt;." in found
    assert "without the newest 20.0%" in found
    for row in (metrics, *metrics["baselines"].values()):
        assert f"<td>{row['mrr@20']:.4f}</td>" in found
    for name in ("AUC purchase", "target tail", "popularity bias", "macro_f1"):
        assert name in found
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "report.html"]


def test_rivals_and_published_results_stand_below_the_model(folder: Path) -> None:
    metrics = json.loads(json.dumps(evaluate(folder, TEST)))
    rival = {**metrics["baselines"]["markov"], "mrr@20": 0.987}
    lead = {"value": 0.01, "low": -0.02, "high": 0.04}
    metrics["against"] = {
        "members": {"net": rival, "rules": rival},
        "leader": "blend",
        "differences": {"rules": {"recall@20": lead, "mrr@20": lead}},
        "actions": {"trees": metrics["action"]},
    }
    metrics["published"] = {
        "name": "a split",
        "anchors": [{"system": "SYS", "metrics": {"mrr@20": 0.654}, "source": "somewhere"}],
    }
    found = report(folder, metrics)
    places = [found.index(text) for text in ("<td>model</td>", "<td>rules</td>", "SYS, published")]
    assert places == sorted(places)
    assert found.count("0.9870") == 1
    assert "<td>0.6540</td>" in found
    assert "<td>-0.0200</td>" in found
    assert "<td>trees</td>" in found
    assert "<h2>Next action" in found


def test_a_log_of_one_action_has_no_table_of_actions(tmp_path: Path) -> None:
    spec = spec_of(items=20, width=8, actions=("_close", "other", "view"))
    train(learnable_log(spec, users=20), spec, ITEMS, TrainConfig(epochs=1), tmp_path)
    found = report(tmp_path, evaluate(tmp_path, learnable_log(spec, users=9), "leave-one-out"))
    assert "<h2>Next action" not in found
    assert "nothing of it was held out" in found
