import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stream_app.cli import app
from stream_app.invocation import Invocation
from stream_app.settings import KEYS

KEY = "a key of sixteen bytes or more"


def config(folder: Path, *options: str, **environ: str) -> Result:
    return CliRunner().invoke(app, ["config", *options], obj=Invocation(environ, folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clickahead.toml").write_text('[input]\nfields = {user_id = "visitor"}\n')
    return tmp_path


def test_json_names_every_key_with_value_and_origin(folder: Path) -> None:
    shown = config(folder, "--json", CLICKAHEAD_WORKER__PARTITIONS="11")
    assert shown.exit_code == 0
    rows = json.loads(shown.stdout)
    assert rows.keys() == KEYS.names
    assert rows["worker.partitions"] == {"value": 11, "origin": "CLICKAHEAD_WORKER__PARTITIONS"}
    assert rows["input.fields"] == {
        "value": {"user_id": "visitor"},
        "origin": f"{folder / 'clickahead.toml'}:2",
    }
    assert rows["kafka.bootstrap_servers"] == {"value": ["127.0.0.1:9092"], "origin": "default"}


def test_the_table_names_every_key_however_narrow_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = config(folder, CLICKAHEAD_CORE__PSEUDONYM_KEY=KEY)
    assert shown.exit_code == 0
    rows = [line.split("│")[1:-1] for line in shown.stdout.splitlines() if line.startswith("│")]
    columns = ["".join(cell.strip() for cell in column) for column in zip(*rows, strict=True)]
    for key in KEYS.names:
        assert key in columns[0]
    assert '{"user_id":"visitor"}' in columns[1].replace(" ", "")
    assert "CLICKAHEAD_CORE__PSEUDONYM_KEY" in columns[2]


@pytest.mark.parametrize("options", [[], ["--json"], ["--check"]])
def test_secrets_are_shown_nowhere(folder: Path, options: list[str]) -> None:
    shown = config(folder, *options, CLICKAHEAD_CORE__PSEUDONYM_KEY=KEY)
    assert KEY not in shown.output
    assert shown.stderr == ""


@pytest.mark.parametrize("options", [[], ["--json"], ["--check"]])
def test_warnings_go_beside_the_output(folder: Path, options: list[str]) -> None:
    shown = config(folder, *options)
    assert shown.exit_code == 0
    assert shown.stderr.startswith("warning: core.pseudonym_key is the public default")
    assert "public default" not in shown.stdout
    assert bool(shown.stdout) is (options != ["--check"])


def test_the_check_fails_on_what_no_worker_would_start_with(folder: Path) -> None:
    checked = config(folder, "--check", CLICKAHEAD_KAFKA__BOOTSTRAP_SERVER="a:1")
    assert checked.exit_code == 2
    assert "did you mean CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS?" in checked.stderr
