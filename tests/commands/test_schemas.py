import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from stream_app.commands.schemas import command
from stream_app.core.events import TOPICS

app = typer.Typer()
app.command()(command)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def written(tmp_path: Path) -> Path:
    assert run("--out", tmp_path).exit_code == 0
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_one_file_is_written_for_each_topic_and_the_check_is_content(written: Path) -> None:
    assert {path.stem for path in written.iterdir()} == set(TOPICS)
    checked = run("--out", written, "--check")
    assert checked.exit_code == 0
    assert f"{len(TOPICS)} schemas" in checked.stdout


def test_the_check_shows_drift_as_a_diff_and_writes_nothing(written: Path) -> None:
    edit(written / "demand.json", '"title": "clickahead.demand"', '"title": "old"')
    before = (written / "demand.json").read_text()
    checked = run("--out", written, "--check")
    assert checked.exit_code == 1
    assert '-  "title": "old"' in checked.stdout
    assert '+  "title": "clickahead.demand"' in checked.stdout
    assert "run: clickahead schemas" in checked.stderr
    assert (written / "demand.json").read_text() == before


def test_the_check_fails_where_a_schema_was_never_written(tmp_path: Path) -> None:
    checked = run("--out", tmp_path, "--check")
    assert checked.exit_code == 1
    assert "+++ generated/events.json" in checked.stdout


def test_a_breaking_change_is_named_and_not_written_unless_meant(written: Path) -> None:
    edit(written / "demand.json", '"forecast"', '"estimate"')
    refused = run("--out", written)
    assert refused.exit_code == 1
    assert "demand.estimate: the field was removed or renamed" in refused.stderr
    assert "estimate" in json.loads((written / "demand.json").read_text())["properties"]
    assert run("--out", written, "--allow-breaking").exit_code == 0
    assert run("--out", written, "--check").exit_code == 0


def test_a_removed_topic_is_a_breaking_change_and_its_file_goes(written: Path) -> None:
    (written / "coupons.json").write_text("{}")
    refused = run("--out", written)
    assert "coupons: the topic was removed" in refused.stderr
    assert run("--out", written, "--allow-breaking").exit_code == 0
    assert not (written / "coupons.json").exists()
