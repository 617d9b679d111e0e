"""From click files to a served model and its replay, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from model.engine import EngineError, open_engine
from model.served import GRAPH_FILES
from stream_app.bundled import BUNDLED, model_directory
from stream_app.cli import app

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default::DeprecationWarning")]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated day, its model, and the day after."""
    folder = tmp_path_factory.mktemp("trained")
    shop = ("--users", 500, "--items", 60, "--categories", 5, "--seed", 3, "--rate", 1)
    for name, start in (("day", "2026-01-05T00:00:00Z"), ("next", "2026-01-06T00:00:00Z")):
        out = folder / f"{name}.jsonl.gz"
        made = run("simulate", "--out", out, "--events", 4_000, "--start", start, *shop)
        assert made.exit_code == 0, made.output
    settings = ("--set", "hidden_width=8", "--set", "epochs=2", "--set", "held_out=0.2")
    trained = run("train", folder / "day.jsonl.gz", "--out", folder / "model", *settings)
    assert trained.exit_code == 0, trained.output
    return folder


def test_a_trained_model_is_served_with_its_calibration(folder: Path) -> None:
    engine = open_engine(folder / "model")
    assert engine.spec.item_count == 60
    assert "purchase" in engine.spec.actions
    assert set(engine.calibration) == {"surprise", "session_close"}
    assert all(len(scores) > 50 for scores in engine.calibration.values())


def test_evaluate_writes_what_it_prints(folder: Path) -> None:
    found = folder / "metrics" / "found.json"
    done = run("evaluate", "--model", folder / "model", "--test", folder / "next.jsonl.gz",
               "--json", found)  # fmt: skip
    assert done.exit_code == 0, done.output
    metrics = json.loads(found.read_text())
    assert metrics["n"] > 1_000
    assert 0 < metrics["mrr@20"] <= metrics["recall@20"] <= 1
    assert metrics["recall@20"] > metrics["baselines"]["popular"]["recall@20"] / 2
    assert f"{metrics['recall@20']:.4f}" in done.output


def test_export_makes_the_same_graph_again(folder: Path) -> None:
    graphs = [folder / "model" / name for name in GRAPH_FILES]
    before = [graph.read_bytes() for graph in graphs]
    done = run("export", folder / "model")
    assert done.exit_code == 0, done.output
    assert [graph.read_bytes() for graph in graphs] == before


def test_replay_answers_every_record(folder: Path) -> None:
    done = run("replay", folder / "next.jsonl.gz", "--model", folder / "model", "--out",
               folder / "out", "--partitions", 3, "--close", "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    totals = json.loads(done.stdout.splitlines()[-1])
    lines = (folder / "out" / "predictions.jsonl").read_text().splitlines()
    assert totals["records"] == sum(totals["outcomes"].values())
    assert totals["outcomes"]["predicted"] == len(lines)
    assert json.loads(lines[0])["fallback"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "nothing"], "choose one of auto"),
        (["--set", "epoch=3"], "epochs"),
        (["--set", "epochs=0"], "at least 1"),
    ],
)
def test_wrong_options_are_told(folder: Path, arguments: list[str], says: str) -> None:
    done = run("train", folder / "day.jsonl.gz", "--out", folder / "never", *arguments)
    assert done.exit_code == 2, done.output
    assert says in done.output
    assert not (folder / "never" / "manifest.json").exists()


def test_a_log_without_clicks_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("user_id,item_id,timestamp\n")
    done = run("train", tmp_path / "empty.csv", "--out", tmp_path / "model")
    assert done.exit_code == 2, done.output
    assert "at least 2 items" in done.output


def test_the_bundled_model_is_small_and_calibrated() -> None:
    assert model_directory(None) == BUNDLED
    engine = open_engine(BUNDLED)
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 5_000_000
    assert all(len(scores) >= 10_000 for scores in engine.calibration.values())


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users who take each item once, in an order that can be learned; a model of all they took."""
    folder = tmp_path_factory.mktemp("histories")
    rng = np.random.default_rng(1)
    lines = []
    for user in range(300):
        begin = int(rng.integers(40))
        lines.append([str(user), *(str((begin + 3 * n) % 40) for n in range(rng.integers(4, 10)))])
    (folder / "all.txt").write_text("".join(" ".join(line) + "\n" for line in lines))
    (folder / "cut.txt").write_text("".join(" ".join(line[:-1]) + "\n" for line in lines))
    settings = ("hidden_width=16", "epochs=12", "batch_sequences=32", "learning_rate=0.01")
    for name in ("all", "cut"):
        made = run("train", folder / f"{name}.txt", "--out", folder / name, "--preset", "histories",
                   *(x for pair in settings for x in ("--set", pair)))  # fmt: skip
        assert made.exit_code == 0, made.output
    return folder


def test_one_file_of_histories_is_measured_by_a_model_without_its_last_items(
    histories: Path,
) -> None:
    found = histories / "found.json"
    told = {}
    beside = ("--with", histories / "all", "--against", "actions")
    for name, more in (("all", beside), ("cut", ())):
        done = run("evaluate", "--model", histories / name, "--test", histories / "all.txt",
                   "--json", found, *more)  # fmt: skip
        assert done.exit_code == 0, done.output
        told[name] = done.output, json.loads(found.read_text())
    for _, metrics in told.values():
        assert metrics["protocol"] == "leave-one-out"
        assert metrics["filter_seen"]
        assert metrics["n"] == 300
        assert metrics["recall@10"] > 0.6
    assert "without each user's last item" in " ".join(told["all"][0].split())
    assert "trained on" not in told["cut"][0]
    # What is joined with it, and what is compared, has not seen the last items either.
    metrics = told["all"][1]
    assert metrics["together"]["logit average"]["recall@20"] == metrics["recall@20"]
    rivals = metrics["against"]["actions"].values()
    assert {row["n"] for row in rivals} == {metrics["action"]["n"]}


def test_a_net_without_a_graph_is_not_served(histories: Path) -> None:
    done = run("export", histories / "all")
    assert done.exit_code == 2
    assert "train one with --set net=gru" in " ".join(done.output.split())
    with pytest.raises(EngineError, match="step"):
        open_engine(histories / "all")
