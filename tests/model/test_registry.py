"""A registry keeps whole models, remembers who answered, and refuses what it could not serve."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import EngineError, open_engine
from model.registry import Registry, RegistryError
from model.served import GRAPH_FILES
from tests.tiny_model import tiny_spec, write_tiny_model

AT = "2026-01-02T03:04:05+00:00"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [write_tiny_model(root / str(n), tiny_spec(), n) for n in range(3)]


@pytest.fixture(scope="module")
def filled(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with three versions; tests that change it take a copy."""
    root = tmp_path_factory.mktemp("registry")
    for model in models:
        Registry(root).add(model, AT)
    return root


def copied(filled: Path, tmp_path: Path) -> Registry:
    return Registry(shutil.copytree(filled, tmp_path / "registry"))


def test_a_model_is_served_from_the_registry_as_from_its_own_folder(
    models: list[Path], filled: Path
) -> None:
    registry = Registry(filled)
    assert registry.versions() == tuple(open_engine(model).version for model in models)
    for model, version in zip(models, registry.versions(), strict=True):
        assert open_engine(registry.path_of(version)).version == version
        assert registry.manifest_of(version).fingerprint == version.rpartition("-")[2]
        for name in GRAPH_FILES:
            held = (registry.path_of(version) / name).read_bytes()
            assert held == (model / name).read_bytes()


def test_lineage_is_kept(models: list[Path], tmp_path: Path) -> None:
    registry = Registry(tmp_path / "new" / "registry")
    first = registry.add(models[0], AT)
    second = registry.add(models[1], "later", parent=first)
    assert (registry.entry(second).parent, registry.entry(second).added_at) == (first, "later")
    assert registry.add(models[0], "again", parent=second) == first  # nothing moves
    assert registry.entry(first).parent is None
    with pytest.raises(RegistryError, match="has no model nobody-1; it has: tiny-"):
        registry.add(models[2], AT, parent="nobody-1")
    assert len(registry.versions()) == 2
    third = registry.add(models[2], AT, parent=second)
    assert registry.descent(third) == (second, first)
    assert registry.descent(first) == ()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(moves=st.lists(st.none() | st.integers(0, 2), max_size=8))
def test_a_roll_back_returns_to_what_answered_before(
    moves: list[int | None], filled: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    registry = copied(filled, tmp_path_factory.mktemp("moves"))
    versions, told, happened = registry.versions(), list[str](), 0
    for move in moves:
        if move is None and len(told) < 2:
            with pytest.raises(RegistryError, match="no version before the live one"):
                registry.roll_back(AT)
        elif move is None:
            told.pop()
            happened += 1
            assert registry.roll_back(AT) == told[-1]
        else:
            assert registry.promote(versions[move], AT) == (told[-1] if told else None)
            if not told or told[-1] != versions[move]:
                told.append(versions[move])
                happened += 1
        assert registry.live() == (told[-1] if told else None)
    assert len(registry.book().promotions) == happened


def test_what_cannot_be_served_is_neither_added_nor_promoted(
    models: list[Path], filled: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(models[0], tmp_path / "broken")
    (broken / GRAPH_FILES[0]).write_bytes(b"no graph")
    empty = Registry(tmp_path / "empty")
    with pytest.raises(EngineError, match="export the model again"):
        empty.add(broken, AT)
    with pytest.raises(EngineError, match="is no model folder"):
        empty.add(tmp_path / "nowhere", AT)
    assert not empty.root.exists()
    registry = copied(filled, tmp_path)
    version = registry.versions()[1]
    registry.promote(registry.versions()[0], AT)
    (registry.path_of(version) / GRAPH_FILES[1]).write_bytes(b"no graph")
    with pytest.raises(EngineError, match="export the model again"):
        registry.promote(version, AT)
    assert registry.live() == registry.versions()[0]


def test_an_interrupted_addition_leaves_no_version_and_can_be_repeated(
    models: list[Path], tmp_path: Path
) -> None:
    registry = Registry(tmp_path)
    version = open_engine(models[0]).version
    (tmp_path / version).mkdir()  # killed before the manifest was written
    (tmp_path / version / "manifest.json").write_bytes(b"{")
    (tmp_path / f".{version}.unfinished").mkdir()
    assert registry.versions() == ()
    assert registry.add(models[0], AT) == version
    assert open_engine(registry.path_of(version)).version == version
    assert sorted(path.name for path in tmp_path.iterdir()) == ["registry.json", version]


def test_a_damaged_manifest_is_refused_and_left_alone(filled: Path, tmp_path: Path) -> None:
    registry = copied(filled, tmp_path)
    path = registry.root / "registry.json"
    held = json.loads(path.read_bytes())
    for content, why in (
        (b"{", "is no registry of models"),
        (b"\xff", "is no registry of models"),
        (json.dumps(held | {"other": 1}).encode(), "is no registry of models"),
        (json.dumps(held | {"format": 2}).encode(), "has format 2, this version reads 1"),
    ):
        path.write_bytes(content)
        with pytest.raises(RegistryError, match=why):
            registry.versions()
        assert path.read_bytes() == content
    assert Registry(tmp_path / "nothing").versions() == ()
