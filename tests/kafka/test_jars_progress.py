"""A download is shown to whoever waits for it; nothing is shown where there is none."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from stream_app.kafka.jars import install_directory, pinned
from stream_app.kafka.jars_progress import DESCRIPTION, ensure_jars_shown


@pytest.mark.kafka
@pytest.mark.parametrize("is_terminal", [False, True])
def test_nothing_is_shown_where_all_is_there(kafka_jars: Path, is_terminal: bool) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=is_terminal)
    assert ensure_jars_shown(kafka_jars.parents[1], console) == kafka_jars
    assert shown.getvalue() == ""


@pytest.mark.kafka
@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_download_is_shown(kafka_jars: Path, tmp_path: Path, is_terminal: bool) -> None:
    # All jars have been downloaded by a process that was ended before it could install them.
    for jar in pinned():
        part = install_directory(tmp_path, pinned()).with_suffix(".part")
        place = part.joinpath(*jar.group.split("."), jar.artifact, jar.version)
        place.mkdir(parents=True)
        (place / jar.file_name).symlink_to(kafka_jars / jar.file_name)
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=is_terminal, width=100)
    ensure_jars_shown(tmp_path, console)
    assert DESCRIPTION in shown.getvalue()
    assert ("\x1b" in shown.getvalue()) is is_terminal
    assert shown.getvalue().count("\n") == 1 or is_terminal
