"""The report of a search."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from model.importance import draw_importance, outcome_table
from model.tune import Outcome


def test_the_most_important_setting_comes_first() -> None:
    outcome = Outcome({"a": 1, "b": 0.123456}, 0.5, 3, {"a": 0.1, "b": 0.9}, 5, 2, 0.4)
    shown = StringIO()
    console = Console(width=100, file=shown)
    console.print(outcome_table(outcome))
    text = " ".join(shown.getvalue().split())
    assert text.index("0.1235") < text.index("0.100")
    assert "0.5000, 0.4000 with the preset" in text
    assert "5 trials, 2 of them stopped early" in text


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    draw_importance({"a": 0.1, "b": 0.9}, tmp_path / "importance.png")
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")
