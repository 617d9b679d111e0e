"""Smaller forms of a model: each is measured, and only what may be served is exported."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from model import checkpoint
from model.bound import REPORT_FILE, BoundError
from model.checkpoint import Checkpoint
from model.compress import CompressError, Method, RefusedError, compress
from model.config import TrainConfig
from model.distil import Taught
from model.engine import open_engine
from model.holdout import hold_out
from model.net_shape import NetShape
from model.phase import Exam
from model.prune import PRUNED
from model.questions import questions_of
from model.resume import Position
from model.train import train
from tests.model.logs import learnable_log, spec_of

SPEC = msgspec.structs.replace(spec_of(items=20, width=32), top_k=20, memory_dtype="float32")
ITEMS = tuple("abcdefghijklmnopqrst")
LOG = learnable_log(SPEC, users=60)
HELD = hold_out(LOG, 0.25)
DATA = Taught(HELD.early, Exam(LOG, questions_of(LOG, SPEC, "session", HELD.late)))
FAST = TrainConfig(epochs=2, batch_sequences=8, learning_rate=1e-2)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("model")
    config = msgspec.structs.replace(FAST, epochs=6, churn_days=1e-4)
    train(HELD.early, SPEC, ITEMS, config, folder)
    return checkpoint.load(folder)


@pytest.mark.parametrize("method", ["magnitude", "structured", "int8-static", "fp16"])
def test_a_compressed_model_is_served(saved: Checkpoint, method: Method, tmp_path: Path) -> None:
    parity = compress(saved, DATA, method, 0.5, FAST, 0.9, tmp_path)
    assert parity.kept >= 0.9
    engine, found = open_engine(tmp_path), checkpoint.load(tmp_path)
    assert engine.fingerprint != saved.fingerprint
    assert found.manifest.net == saved.manifest.net
    assert (tmp_path / REPORT_FILE).exists()
    if method == "magnitude":
        for name in PRUNED:
            assert (found.weights[name] == 0).mean() == pytest.approx(0.5, abs=0.01)
        assert "neither the graph nor the step is smaller" in parity.notes[0]
    if method == "structured":
        assert engine.spec.hidden_width == 16
        assert parity.after[0].bytes < 0.7 * parity.before.bytes
    if method == "int8-static":
        assert parity.after[0].bytes < parity.before.bytes
    if method == "fp16":
        assert engine.initial(1).hidden.dtype == np.float16


def test_a_killed_compression_ends_as_a_whole_one(saved: Checkpoint, tmp_path: Path) -> None:
    def kill(position: Position) -> None:
        if position.step == 5:
            raise KeyboardInterrupt

    config = msgspec.structs.replace(FAST, save_every=2)
    compress(saved, DATA, "structured", 0.5, config, 0.1, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        compress(saved, DATA, "structured", 0.5, config, 0.1, tmp_path / "cut", on_batch=kill)
    assert not (tmp_path / "cut" / checkpoint.MANIFEST_FILE).exists()
    compress(saved, DATA, "structured", 0.5, config, 0.1, tmp_path / "cut")
    found, wanted = (checkpoint.load(tmp_path / name).fingerprint for name in ("cut", "whole"))
    assert found == wanted


def test_scales_of_a_batch_are_refused_with_the_evidence(saved: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"changes bits between a batch.*int8-static"):
        compress(saved, DATA, "int8-dynamic", 0.5, FAST, 0.9, tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_a_model_that_lost_too_much_is_not_exported(saved: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(BoundError, match="nothing was exported"):
        compress(saved, DATA, "fp16", 0.5, FAST, 1.5, tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_what_cannot_be_compressed_is_told(saved: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(CompressError, match="between 0 and 1"):
        compress(saved, DATA, "magnitude", 1.0, FAST, 0.9, tmp_path)
    half = msgspec.structs.replace(saved.spec, memory_dtype="float16")
    manifest = msgspec.structs.replace(saved.manifest, spec=half)
    with pytest.raises(CompressError, match="float16 already"):
        compress(Checkpoint(manifest, ITEMS, saved.weights), DATA, "fp16", 0.5, FAST, 0.9, tmp_path)
    manifest = msgspec.structs.replace(saved.manifest, net=NetShape(name="lstm"))
    with pytest.raises(CompressError, match="distil"):
        compress(Checkpoint(manifest, ITEMS, {}), DATA, "magnitude", 0.5, FAST, 0.9, tmp_path)
