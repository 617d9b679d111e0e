"""Files behind a progress bar are the same events as without one."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from stream_app.files import FileError, read
from stream_app.reading import FileChoice, read_shown


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_changes_nothing(tmp_path: Path, is_terminal: bool) -> None:
    file = tmp_path / "clicks.csv"
    rows = [f"u{n % 7},i{n % 11},{1_700_000_000 + n}" for n in range(2_500)]
    file.write_text("\n".join(["who,item_id,timestamp", *rows]) + "\n")
    console = Console(file=io.StringIO(), force_terminal=is_terminal)
    shown = list(read_shown(FileChoice([file], mapping=["who=user_id"]), console, "counting"))
    assert shown == list(read([file], mapping={"who": "user_id"}))
    assert isinstance(console.file, io.StringIO)
    assert ("counting" in console.file.getvalue()) == is_terminal


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match="--map"):
        list(read_shown(FileChoice([tmp_path / "clicks.csv"]), Console(file=io.StringIO()), ""))
