"""``clickahead models`` from the outside: what it prints, and how it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stream_app.cli import app
from tests.tiny_model import tiny_spec, write_tiny_model


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [write_tiny_model(root / str(n), tiny_spec(), n) for n in range(2)]


def test_versions_come_answer_and_go_back(models: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "registry"
    assert "has no models; add one: clickahead models add" in run("list", root).stdout
    first, second = (run("add", root, model).stdout.split()[0] for model in models)
    assert run("add", root, models[0]).stdout == f"{first} is there already\n"
    assert f"{first} answers (the first one)" in run("promote", root, first).stdout
    promoted = run("promote", root, second[:-1])  # the beginning of a version names it
    assert f"{second} answers (before it: {first})" in promoted.stdout
    assert f"clickahead control promote {second}" in promoted.output
    listed = json.loads(run("list", root, "--json").stdout)
    assert listed["live"] == second
    assert [model["version"] for model in listed["models"]] == [first, second]
    assert first[:12] in run("list", root).stdout
    assert f"{first} answers again" in run("rollback", root).stdout
    shown = json.loads(run("show", root, second, "--json").stdout)
    assert (shown["version"], shown["live"], shown["items"]) == (second, False, 30)
    assert len(shown["promotions"]) == 1
    assert f"version       {second}" in run("show", root, second).stdout


def test_what_is_not_there_is_refused_with_what_is(models: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "registry"
    versions = [run("add", root, model).stdout.split()[0] for model in models]
    for arguments, why in (
        (("show", root, "nobody"), f"has no model nobody; it has: {versions[0]}"),
        (("promote", root, "tiny"), f"tiny is the beginning of {versions[0]}, {versions[1]}"),
        (("add", root, tmp_path / "nowhere"), "is no model folder"),
        (("add", root, models[0], "--parent", "x"), "has no model x"),
        (("rollback", root), "no version before the live one"),
    ):
        refused = run(*arguments)
        assert refused.exit_code == 2
        assert why in " ".join(refused.output.split())


@pytest.mark.parametrize("name", ["list", "show", "add", "promote", "rollback"])
def test_help_shows_an_example(name: str) -> None:
    assert f"clickahead models {name} models/" in run(name, "--help").stdout
