"""Models made from models, through the command line: tuned, distilled, compressed, carried over to
another log, and taught further day by day."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from model import checkpoint
from model.engine import open_engine
from stream_app.cli import app

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default::DeprecationWarning")]

QUICK = ("--set", "epochs=2", "--set", "batch_sequences=32")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated day and the next, and a model of the first."""
    folder = tmp_path_factory.mktemp("derived")
    shop = ("--users", 300, "--items", 40, "--categories", 4, "--seed", 3, "--rate", 1)
    for name, start in (("day", "2026-01-05T00:00:00Z"), ("next", "2026-01-06T00:00:00Z")):
        made = run("simulate", "--out", folder / f"{name}.jsonl.gz", "--events", 2_500,
                   "--start", start, *shop)  # fmt: skip
        assert made.exit_code == 0, made.output
    trained = run("train", folder / "day.jsonl.gz", "--out", folder / "model", *QUICK,
                  "--set", "hidden_width=32", "--set", "held_out=0")  # fmt: skip
    assert trained.exit_code == 0, trained.output
    return folder


def test_distilled(folder: Path) -> None:
    out = folder / "distilled"
    done = run("distill", folder / "model", folder / "day.jsonl.gz", "--out", out, *QUICK,
               "--set", "hidden_width=16", "--bound", 0.5)  # fmt: skip
    assert done.exit_code == 0, done.output
    engine = open_engine(out)
    assert engine.spec.hidden_width == 16
    assert len(engine.calibration["surprise"]) > 50
    assert json.loads((out / "bound.json").read_text())["passes"]


def test_a_missed_bound_is_a_failure_and_leaves_no_model(folder: Path) -> None:
    out = folder / "missed"
    done = run("compress", folder / "model", folder / "day.jsonl.gz", "--out", out, *QUICK,
               "--method", "int8-static", "--bound", 2)  # fmt: skip
    assert done.exit_code == 1, done.output
    assert "nothing was exported" in done.output
    assert not (out / "manifest.json").exists()


def test_compressed_on_a_test_file(folder: Path) -> None:
    out = folder / "compressed"
    done = run("compress", folder / "model", folder / "day.jsonl.gz", "--out", out, *QUICK,
               "--method", "structured", "--share", 0.5, "--bound", 0.5,
               "--test", folder / "next.jsonl.gz")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert open_engine(out).spec.hidden_width == 16
    assert "16 hidden units are left" in done.output


def test_tuned_settings_train_a_model(folder: Path) -> None:
    out = folder / "search"
    done = run("tune", folder / "day.jsonl.gz", "--out", out, "--trials", 2, "--set", "epochs=1",
               "--set", "hidden_width=8")  # fmt: skip
    assert done.exit_code == 0, done.output
    best = tomllib.loads((out / "best.toml").read_text())
    assert best["hidden_width"] == 8
    done = run("train", folder / "day.jsonl.gz", "--settings", out / "best.toml", "--out",
               folder / "tuned", "--set", "held_out=0")  # fmt: skip
    assert done.exit_code == 0, done.output
    found = checkpoint.load(folder / "tuned").manifest
    assert found.config["batch_sequences"] == best["batch_sequences"]
    assert found.spec.hidden_width == 8


def test_carried_over_without_training_the_model_knows_the_same(folder: Path) -> None:
    done = run("train", folder / "next.jsonl.gz", "--from", folder / "model", "--out",
               folder / "same", "--set", "epochs=0")  # fmt: skip
    assert done.exit_code == 0, done.output
    before, after = (checkpoint.load(folder / name) for name in ("model", "same"))
    count = before.spec.item_count
    assert after.items[:count] == before.items
    for name in ("gru.weight_hh", "gru.weight_ih", "intent_head.weight", "logit_scale"):
        assert np.array_equal(after.weights[name], before.weights[name])
    table = after.weights["item_embedding"][:count]
    assert np.array_equal(table, before.weights["item_embedding"][:count])


def test_carried_over_with_a_frozen_body(folder: Path) -> None:
    done = run("train", folder / "next.jsonl.gz", "--from", folder / "model", *QUICK, "--out",
               folder / "frozen", "--set", "freeze=body", "--set", "held_out=0")  # fmt: skip
    assert done.exit_code == 0, done.output
    before, after = (checkpoint.load(folder / name).weights for name in ("model", "frozen"))
    assert np.array_equal(after["gru.weight_hh"], before["gru.weight_hh"])
    assert not np.array_equal(after["intent_head.weight"], before["intent_head.weight"])


def test_items_of_a_catalogue_join_a_model(folder: Path) -> None:
    items = folder / "items.jsonl"
    made = run("simulate", "--out", folder / "unused.jsonl", "--events", 1, "--catalogue", items,
               "--users", 300, "--items", 40, "--categories", 4, "--seed", 3)  # fmt: skip
    assert made.exit_code == 0, made.output
    with items.open("a") as catalogue:
        catalogue.write('{"item_id": "new", "category": "c1", "brand": "b1", "price": 9.5}\n')
    out = folder / "placed"
    done = run("train", folder / "day.jsonl.gz", "--from", folder / "model", "--catalogue", items,
               "--set", "epochs=0", "--out", out)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert checkpoint.load(out).items[-1] == "new"
    assert "new" in open_engine(out).vocabulary.items
    done = run("evaluate", "--model", out, "--test", folder / "next.jsonl.gz", "--catalogue", items,
               "--with", out, "--json", folder / "placed.json")  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "placed.json").read_text())
    assert found["new_items"] == {"n": 0}  # nobody has clicked it yet
    assert found["together"]["logit average"]["mrr@20"] == found["mrr@20"]
    alone = run("train", folder / "day.jsonl.gz", "--catalogue", items, "--out", folder / "never")
    assert alone.exit_code == 2
    assert "add --from MODEL" in alone.output


def test_a_recipe_is_validated_on_several_stretches(folder: Path) -> None:
    done = run("validate", folder / "day.jsonl.gz", "--out", folder / "folds", "--folds", 2,
               *QUICK, "--set", "hidden_width=8")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert len(json.loads((folder / "folds" / "rolling.json").read_text())) == 2


def test_days_are_learned_one_after_the_other(folder: Path) -> None:
    out = folder / "newer"
    done = run("continue", folder / "model", folder / "day.jsonl.gz", folder / "next.jsonl.gz",
               "--out", out, *QUICK)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.output.count("backward transfer") == 2
    courses = json.loads((out / "continual.json").read_text())
    assert [len(course["recall"]) for course in courses] == [3, 3]
    assert open_engine(out).spec.item_count >= 40


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["distill", "day.jsonl.gz", "--out", "never"], "no teacher is given"),
        (["distill", "model", "--out", "never"], "no click file is given"),
        (["distill", "model", "day.jsonl.gz", "--out", "never", "--set", "temperature=0"], "0.1"),
        (["distill", "model", "day.jsonl.gz", "--out", "never", "--set", "net=lstm"], "a GRU"),
        (["compress", "model", "day.jsonl.gz", "--out", "never", "--method", "fp16"], "float16"),
        (["tune", "day.jsonl.gz", "--out", "never", "--set", "epoch=3"], "epochs"),
        (["train", "day.jsonl.gz", "--out", "never", "--set", "freeze=body"], "--from"),
        (["train", "day.jsonl.gz", "--out", "never", "--set", "epochs=0"], "at least 1"),
        (["train", "day.jsonl.gz", "--out", "never", "--settings", "day.jsonl.gz"], "no settings"),
        (
            ["train", "day.jsonl.gz", "--out", "never", "--from", "model", "--set", "net=lstm"],
            "net is that of the model",
        ),
        (["continue", "model", "day.jsonl.gz", "--out", "never", "--set", "ewc=-1"], "ewc"),
        (["continue", "model", "day.jsonl.gz", "--out", "never", "--set", "net=gru"], "net"),
        (["continue", "model", "day.jsonl.gz", "--out", "never", "--set", "churn_days=9"], "churn"),
        (["validate", "day.jsonl.gz", "--out", "never", "--set", "held_out=0.2"], "--share"),
        (["validate", "day.jsonl.gz", "--out", "never", "--share", "0.5"], "leave nothing"),
    ],
)
def test_wrong_options_are_told(
    folder: Path, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert says in done.output
    assert not (folder / "never" / "manifest.json").exists()
