"""``prepare``, and what ``train`` and ``evaluate`` make of its folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from model.checkpoint import load
from stream_app.cli import app
from stream_app.core.config import CoreConfig
from stream_app.files import read
from stream_app.prepare.config import SPLITS, TRAIN, VALIDATION
from stream_app.prepared import prepared_folder
from stream_app.sequences import build_log
from tests.prepare.logs import seeded, write_csv

pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    write_csv(folder / "log.csv", seeded(900))
    made = run("prepare", folder / "log.csv", "--out", folder / "out", "--split", "last-share")
    assert made.exit_code == 0, made.output
    return folder


def test_a_prepared_folder_is_not_prepared_again(folder: Path) -> None:
    before = (folder / "out" / "manifest.json").stat().st_mtime_ns
    again = run("prepare", folder / "log.csv", "--out", folder / "out", "--split", "last-share")
    assert again.exit_code == 0
    assert "already" in again.output
    other = run("prepare", folder / "log.csv", "--out", folder / "out", "--k-core", 2)
    assert other.exit_code == 2
    assert "name another folder" in other.output
    assert (folder / "out" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("user_id,item_id,timestamp\n", (), "at least 2 items"),
        ("a,b\n1,2\n", (), "--map"),
        (None, ("--k-core", "900"), "lower --user-core"),
        (None, ("--test-share", "2"), "test_share"),
    ],
)
def test_what_cannot_be_prepared_is_told(
    folder: Path, tmp_path: Path, content: str | None, options: tuple[str, ...], says: str
) -> None:
    path = folder / "log.csv"
    if content is not None:
        path = tmp_path / "log.csv"
        path.write_text(content)
    done = run("prepare", path, "--out", tmp_path / "out", *options)
    assert done.exit_code == 2, done.output
    assert says in done.output
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_training_never_sees_what_comes_later(folder: Path) -> None:
    settings = ("--set", "hidden_width=8", "--set", "epochs=1")
    trained = run("train", folder / "out", "--out", folder / "model", *settings)
    assert trained.exit_code == 0, trained.output
    opened = prepared_folder([folder / "out"])
    assert opened is not None
    saved, core = load(folder / "model"), CoreConfig(pseudonym_key=bytes(16))

    def log_of(*splits: str):  # type: ignore[no-untyped-def]
        events = read(opened.choice(*splits).files, sort=True)
        return build_log(events, saved.spec, tuple(saved.items), core)

    learned = opened.without_cut_sessions(log_of(TRAIN, VALIDATION))
    assert saved.manifest.config["refit"] is False
    late = learned.sessions * saved.manifest.config["held_out"]
    begins = np.sort(learned.at_ms[learned.session_start[:-1]])
    held = begins[learned.sessions - int(late) :]
    assert opened.manifest.cuts.validation_ms is not None
    assert held.min() >= opened.manifest.cuts.validation_ms
    assert begins[learned.sessions - int(late) - 1] < opened.manifest.cuts.validation_ms
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert len(saved.items) == summary["splits"]["train"]["items"]
    asked = opened.test_events(log_of(*SPLITS), saved.spec)
    assert asked.sum() == summary["splits"]["test"]["events"]
    found = folder / "found.json"
    done = run("evaluate", "--model", folder / "model", "--test", folder / "out", "--json", found)
    assert done.exit_code == 0, done.output
    assert 0 < json.loads(found.read_text())["n"] <= summary["splits"]["test"]["item_events"]


def test_a_folder_that_is_not_finished_is_told(tmp_path: Path) -> None:
    done = run("train", tmp_path, "--out", tmp_path / "model")
    assert done.exit_code == 2
    assert "no prepared folder" in done.output
