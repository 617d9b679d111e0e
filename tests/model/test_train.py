"""Training end to end: it learns, it goes on after a kill, and it refuses what it cannot learn."""

import io
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from model import baselines, checkpoint
from model.capacity import CapacityError, training_bytes
from model.checkpoint import Manifest
from model.config import TrainConfig
from model.data import DataError
from model.fit import DivergedError
from model.foretelling import action_chain
from model.log import EventLog
from model.resume import Position, ResumeError
from model.spec import ModelSpec
from model.team import Team
from model.train import SNAPSHOTS, STATE_FILE, TrainError, held_back, train
from tests.model.logs import learnable_log, log_of, spec_of

ITEMS = tuple("abcdef")
SPEC = spec_of()
LOG = learnable_log(SPEC)
CONFIG = TrainConfig(
    epochs=3,
    threads=1,
    batch_sequences=16,
    learning_rate=1e-2,
    input_dropout=0.1,
    hidden_dropout=0.1,
    save_every=4,
)
CHOOSING = msgspec.structs.replace(CONFIG, held_out=0.25, patience=1)


class Killed(Exception):
    pass


def run(out: Path, config: TrainConfig = CONFIG, kill_at: int | None = None) -> Manifest:
    steps = 0

    def on_batch(position: Position) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            raise Killed

    return train(LOG, SPEC, ITEMS, config, out, on_batch=on_batch)


def test_it_learns_what_can_be_learned(tmp_path: Path) -> None:
    config = msgspec.structs.replace(CHOOSING, epochs=20, patience=5)
    manifest = run(tmp_path, config)
    assert manifest.metrics["held_out"]["mrr@20"] > 0.8  # chance: 0.4, ceiling: about 0.92
    losses = [e["item_loss"] for e in manifest.metrics["history"] if e["phase"] == "choose"]
    assert losses[-1] < losses[0] / 2


def test_the_result_is_whole(tmp_path: Path) -> None:
    manifest = train(LOG, SPEC, ITEMS, CONFIG, tmp_path, created_at="2026-01-01T00:00:00Z")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "model.safetensors",
        "manifest.json",
        "items.json",
        "baselines.safetensors",
        "train",
    }
    assert not (tmp_path / STATE_FILE).exists()
    assert list((tmp_path / "train").rglob("events.out.tfevents.*"))
    loaded = checkpoint.load(tmp_path)
    assert loaded.manifest == manifest
    assert manifest.config == msgspec.to_builtins(CONFIG)
    assert manifest.created_at == "2026-01-01T00:00:00Z"
    assert len(manifest.metrics["history"]) == CONFIG.epochs


@pytest.mark.parametrize("config", [CONFIG, CHOOSING], ids=["fixed", "choosing"])
def test_a_killed_run_ends_as_an_uninterrupted_one(tmp_path: Path, config: TrainConfig) -> None:
    whole = run(tmp_path / "whole", config)
    # Before the first saved state, right on one, between two, and in the second phase.
    for kill_at in (2, 4, 11, 23, 40):
        out = tmp_path / str(kill_at)
        for _ in range(50):
            try:
                resumed = run(out, config, kill_at)
                break
            except Killed:
                assert not (out / "manifest.json").exists()
                kill_at += 3  # one that always dies before saving would never end
        assert resumed.fingerprint == whole.fingerprint
        for found, wanted in zip(resumed.metrics["history"], whole.metrics["history"], strict=True):
            for key in ("phase", "epoch", "recall_at_20", "mrr_at_20", "item_loss"):
                assert found[key] == wanted[key]


@pytest.mark.parametrize(
    "changes",
    [
        {"net": "encoder_decoder", "horizon": 3},
        {"net": "transformer", "pretrain_epochs": 1, "block_dropout": 0.1},
        {"churn_days": 1e-4, "promotions": True, "averaging": 0.9},
    ],
    ids=["encoder-decoder", "pre-training", "tasks"],
)
def test_a_run_killed_at_any_step_goes_on(tmp_path: Path, changes: dict[str, Any]) -> None:
    step = random.randint(1, 10)  # noqa: S311 (any step will do)
    config = msgspec.structs.replace(CONFIG, epochs=2, **changes)
    whole = run(tmp_path / "whole", config)
    with pytest.raises(Killed):
        run(tmp_path / "cut", config, kill_at=step)
    found = run(tmp_path / "cut", config).fingerprint
    assert found == whole.fingerprint, f"killed at step {step}"


def test_sigkill_leaves_a_state_to_go_on_from(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from model.train import train
        from tests.model.test_train import CONFIG, ITEMS, LOG, SPEC
        def on_batch(position):
            if position.step == 10:
                os.kill(os.getpid(), signal.SIGKILL)
        train(LOG, SPEC, ITEMS, CONFIG, Path(sys.argv[1]), on_batch=on_batch)
    """
    root = Path(__file__).parents[2]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "killed")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / STATE_FILE).exists()
    assert not (tmp_path / "killed" / "manifest.json").exists()
    assert run(tmp_path / "killed").fingerprint == run(tmp_path / "whole").fingerprint


def test_seed_and_settings_decide_the_weights(tmp_path: Path) -> None:
    first = run(tmp_path / "1")
    same = run(tmp_path / "2")
    saved_elsewhere = run(tmp_path / "3", msgspec.structs.replace(CONFIG, save_every=3))
    other = run(tmp_path / "4", msgspec.structs.replace(CONFIG, seed=2))
    assert first.fingerprint == same.fingerprint == saved_elsewhere.fingerprint
    assert other.fingerprint != first.fingerprint


def test_another_runs_state_is_not_taken_over(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path, kill_at=9)
    with pytest.raises(ResumeError, match="other settings"):
        run(tmp_path, msgspec.structs.replace(CONFIG, learning_rate=1e-3))
    run(tmp_path)
    run(tmp_path, msgspec.structs.replace(CONFIG, learning_rate=1e-3))  # none is left over


def test_without_refit_the_best_epoch_is_kept(tmp_path: Path) -> None:
    config = msgspec.structs.replace(CHOOSING, refit=False, epochs=4)
    manifest = run(tmp_path / "whole", config)
    assert {record["phase"] for record in manifest.metrics["history"]} == {"choose"}
    with pytest.raises(Killed):
        run(tmp_path / "killed", config, kill_at=8)
    assert run(tmp_path / "killed", config).fingerprint == manifest.fingerprint


@pytest.mark.parametrize("refit", [False, True])
def test_rivals_have_seen_what_the_weights_have(tmp_path: Path, refit: bool) -> None:
    quick = {"epochs": 1, "patience": 0, "snapshots": 1}
    config = msgspec.structs.replace(CHOOSING, refit=refit, net="encoder_decoder", **quick)
    run(tmp_path, config)
    early, _ = held_back(LOG, SPEC, config)
    learned = LOG if refit else early
    assert early.events < LOG.events
    for folder in (tmp_path, tmp_path / SNAPSHOTS / "1"):
        assert int(baselines.load(folder, SPEC).popularity.sum()) == learned.events
        metrics = checkpoint.load(folder).manifest.metrics
        assert metrics["action_chain"] == action_chain(learned, SPEC)
        assert metrics["events"] == LOG.events


def test_early_stopping_waits_for_patience_epochs(tmp_path: Path) -> None:
    config = msgspec.structs.replace(CHOOSING, epochs=40, learning_rate=0.05, patience=2)
    history = [e for e in run(tmp_path, config).metrics["history"] if e["phase"] == "choose"]
    mrr = [record["mrr_at_20"] for record in history]
    assert len(mrr) < 40
    assert len(mrr) - (1 + int(np.argmax(mrr))) == 2


def empty() -> EventLog:
    return log_of([], SPEC)


@pytest.mark.parametrize(
    ("log", "spec", "items", "config", "message"),
    [
        (log_of([], SPEC), SPEC, ITEMS, CONFIG, "holds no events; check the file"),
        (
            log_of([[[(0, 2), (0, 2)]]], spec_of(items=1)),
            spec_of(items=1),
            ("a",),
            CONFIG,
            "a single item",
        ),
        (
            log_of([[[(0, 2)]], [[(1, 2)]]], SPEC),
            SPEC,
            ITEMS,
            CONFIG,
            "no item in the log ever follows another",
        ),
        (
            log_of([[[(0, 2), (1, 2)]], [[(1, 2)]]], SPEC),
            SPEC,
            ITEMS,
            msgspec.structs.replace(CONFIG, held_out=0.5),
            "held_out=0",
        ),
        (LOG, SPEC, ITEMS[:5], CONFIG, "6 items, 5 are given"),
    ],
    ids=["empty", "one item", "no pairs", "no pairs held out", "vocabulary"],
)
def test_a_log_without_lessons_is_refused_and_nothing_written(
    tmp_path: Path,
    log: EventLog,
    spec: ModelSpec,
    items: tuple[str, ...],
    config: TrainConfig,
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        train(log, spec, items, config, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("processes", [1, 4])
def test_what_does_not_fit_into_memory_is_refused_and_nothing_written(
    tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = training_bytes(SPEC, CONFIG, LOG.events)
    monkeypatch.setattr("model.train.machine_bytes", lambda: processes * one - 1)
    with pytest.raises(CapacityError, match="6 items of 8 numbers need about"):
        train(LOG, SPEC, ITEMS, CONFIG, tmp_path / "m", team=Team(0, processes, processes))
    assert not (tmp_path / "m").exists()


def test_a_diverged_run_says_so_and_leaves_no_model(tmp_path: Path) -> None:
    config = msgspec.structs.replace(CONFIG, learning_rate=1e30, clip_norm=1e30, save_every=1)
    with pytest.raises(DivergedError, match="try --set learning_rate="):
        run(tmp_path, config)
    assert not (tmp_path / "manifest.json").exists()
    assert not (tmp_path / STATE_FILE).exists()
    run(tmp_path)  # the way is free for better settings


def test_a_user_runs_on_through_sessions_where_the_spec_says_so(tmp_path: Path) -> None:
    spec = spec_of(reset=False)
    config = msgspec.structs.replace(CONFIG, max_length=5)
    manifest = train(learnable_log(spec), spec, ITEMS, config, tmp_path)
    assert not manifest.spec.reset_at_session


def test_progress_is_shown(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    train(LOG, SPEC, ITEMS, CHOOSING, tmp_path, console=console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "held out recall@20" in text
    assert "final epoch" in text
    assert "events/s" in text


def test_errors_are_of_one_family() -> None:
    assert issubclass(TrainError, DataError)
    assert issubclass(DivergedError, DataError)
