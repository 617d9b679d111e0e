from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from stream_app.invocation import ExitCode, Invocation, UserError, settings_of
from stream_app.kafka.connection import KafkaUnreachable
from stream_app.settings import Settings
from stream_app.sources import SettingsError


def settings_in(invocation: Invocation | None, overrides: dict[str, object]) -> Settings:
    """What a command sees that is called in these surroundings."""
    seen: list[Settings] = []
    app = typer.Typer()

    @app.command()
    def command(context: typer.Context) -> None:
        seen.append(settings_of(context, overrides))

    result = CliRunner().invoke(app, [], obj=invocation)
    if result.exception is not None:
        raise result.exception
    return seen[0]


def test_a_command_sees_file_environment_and_its_own_options(tmp_path: Path) -> None:
    (tmp_path / "clickahead.toml").write_text("[worker]\npartitions = 11\napp_id = 'file'\n")
    invocation = Invocation({"CLICKAHEAD_WORKER__APP_ID": "environment"}, tmp_path)
    settings = settings_in(invocation, {"worker.max_batch_events": 7, "worker.log_level": None})
    assert settings.worker.partitions == 11
    assert settings.worker.app_id == "environment"
    assert settings.worker.max_batch_events == 7
    assert settings.worker.log_level == "INFO"


def test_the_file_of_the_option_replaces_the_one_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "clickahead.toml").write_text("[worker]\npartitions = 11\n")
    named = tmp_path / "named.toml"
    named.write_text("")
    assert settings_in(Invocation({}, tmp_path, named), {}).worker.partitions == 4


def test_wrong_settings_are_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        settings_in(Invocation({"CLICKAHEAD_WORKER__PARTITION": "1"}, tmp_path), {})


def test_a_command_outside_the_command_line_has_no_settings() -> None:
    with pytest.raises(TypeError, match=r"through stream_app\.cli\.app"):
        settings_in(None, {})


@pytest.mark.parametrize(
    ("error", "code"), [(UserError, 2), (KafkaUnreachable, 3), (SettingsError, 2)]
)
def test_an_error_of_the_user_knows_its_exit_code(error: Any, code: int) -> None:
    assert error("said").exit_code == code
    assert code in list(ExitCode)
