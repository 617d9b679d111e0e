"""Which models may be promoted: folders named after the version that they hold."""

from pathlib import Path

import pytest

from model.checkpoint import MANIFEST_FILE
from model.registry import Registry
from stream_app.bundled import model_directory
from stream_app.models_folder import models_in, own_model

VERSION = "gru-0123456789abcdef"


def test_folders_named_after_a_version_are_models(tmp_path: Path) -> None:
    find = models_in(tmp_path)
    assert find() == {}
    for name in (VERSION, "gru", "notes-of-mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MANIFEST_FILE).write_text("{}")
    (tmp_path / "gru-fedcba9876543210").mkdir()
    assert find() == {VERSION: tmp_path / VERSION}


def test_without_a_folder_there_are_none_and_a_missing_one_is_said(tmp_path: Path) -> None:
    assert models_in(None)() == {}
    with pytest.raises(OSError, match="absent"):
        models_in(tmp_path / "absent")()


def test_a_worker_begins_with_the_named_model_else_the_registrys_live_one(
    tiny_model: Path, tmp_path: Path
) -> None:
    assert own_model(None, None) == model_directory(None)
    assert own_model(None, tmp_path) == model_directory(None)
    registry = Registry(tmp_path)
    version = registry.add(tiny_model, "2026-01-01T00:00:00+00:00")
    assert own_model(None, tmp_path) == model_directory(None)
    registry.promote(version, "2026-01-01T00:00:00+00:00")
    assert own_model(None, tmp_path) == registry.path_of(version)
    assert own_model(tiny_model, tmp_path) == tiny_model
    assert models_in(tmp_path)() == {version: registry.path_of(version)}
