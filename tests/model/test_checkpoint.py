"""A checkpoint comes back as it was saved, and a folder that was tampered with is refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model import checkpoint
from model.checkpoint import CheckpointError
from model.net_shape import weight_shapes
from model.spec import ModelSpec

ITEMS = ("a", "b", "ü", "")


def spec_of(**changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {"name": "tiny", "item_count": 4, "hidden_width": 6, "top_k": 2}
    return ModelSpec(**(fields | changes))


def weights_of(spec: ModelSpec) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(7)
    return {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in weight_shapes(spec).items()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spec = spec_of()
    checkpoint.save(
        tmp_path / "m", spec, ITEMS, weights_of(spec), metrics={"recall@20": 0.5}, created_at="now"
    )
    return tmp_path / "m"


def test_round_trip(folder: Path) -> None:
    loaded = checkpoint.load(folder)
    assert loaded.spec == spec_of()
    assert loaded.items == ITEMS
    assert loaded.manifest.metrics == {"recall@20": 0.5}
    assert loaded.manifest.created_at == "now"
    for name, array in weights_of(spec_of()).items():
        np.testing.assert_array_equal(loaded.weights[name], array)
    assert loaded.vocabulary().code("b") == 1
    assert len(loaded.fingerprint) == 8


def test_fingerprint_names_the_weights_not_the_metrics(tmp_path: Path) -> None:
    spec, weights = spec_of(), weights_of(spec_of())
    first = checkpoint.save(tmp_path / "1", spec, ITEMS, weights)
    second = checkpoint.save(tmp_path / "2", spec, ITEMS, weights, metrics={"mrr@20": 1.0})
    weights["logit_scale"] = np.float32(3)
    third = checkpoint.save(tmp_path / "3", spec, ITEMS, weights)
    assert first.fingerprint == second.fingerprint != third.fingerprint


@pytest.mark.parametrize("name", ["manifest.json", "items.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        checkpoint.load(folder)


@pytest.mark.parametrize("name", ["manifest.json", "items.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff" * 100])
def test_rubbish_is_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=str(folder)):
        checkpoint.load(folder)


def test_weights_of_another_model_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["initial_hidden"] = weights["initial_hidden"] + 1
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="fingerprint"):
        checkpoint.load(folder)


def test_a_vocabulary_of_another_model_is_refused(folder: Path) -> None:
    (folder / "items.json").write_bytes(msgspec.json.encode(["a", "b", "c", "d"]))
    with pytest.raises(CheckpointError, match="fingerprint"):
        checkpoint.load(folder)
    (folder / "items.json").write_bytes(msgspec.json.encode(["a"]))
    with pytest.raises(CheckpointError, match="counts 4 items"):
        checkpoint.load(folder)


def test_files_outside_the_folder_are_refused(folder: Path) -> None:
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    manifest["items_file"] = "../items.json"
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(CheckpointError, match="beside it"):
        checkpoint.load(folder)


def test_an_unknown_manifest_key_is_refused(folder: Path) -> None:
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    manifest["spex"] = {}
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(CheckpointError, match="spex"):
        checkpoint.load(folder)


@pytest.mark.parametrize("name", sorted(weight_shapes(spec_of(features=("price",)))))
def test_wrong_shapes_and_missing_weights_are_refused_before_writing(
    tmp_path: Path, name: str
) -> None:
    spec = spec_of(features=("price",))
    weights = weights_of(spec)
    wrong = weights | {name: np.zeros((2, 99), np.float32)}
    with pytest.raises(CheckpointError, match=name):
        checkpoint.save(tmp_path / "m", spec, ITEMS, wrong)
    del weights[name]
    with pytest.raises(CheckpointError, match=name):
        checkpoint.save(tmp_path / "m", spec, ITEMS, weights)
    assert not (tmp_path / "m").exists()


def test_nan_weights_are_refused(tmp_path: Path) -> None:
    weights = weights_of(spec_of())
    weights["action_head.bias"][0] = np.nan
    with pytest.raises(CheckpointError, match=r"action_head\.bias holds NaN"):
        checkpoint.save(tmp_path / "m", spec_of(), ITEMS, weights)


def test_reading_a_checkpoint_imports_no_torch() -> None:
    code = "import sys, model.checkpoint; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False)  # noqa: S603
    assert done.returncode == 0
