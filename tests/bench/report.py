"""One table and one file of everything that a run measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from model.checkpoint import write_atomically
from tests.bench.figures import Figure


def write(path: Path, figures: Sequence[Figure], about: dict[str, Any]) -> None:
    """``path`` holds the median of each figure by its key, then all about it."""
    content = {
        **{figure.key: figure.as_json()["median"] for figure in figures},
        "figures": {figure.key: figure.as_json() for figure in figures},
        **about,
    }
    write_atomically(path, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def table(figures: Sequence[Figure], title: str) -> Table:
    """A row for each figure, what has a bar first."""
    shown = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("figure", "key"):
        shown.add_column(name, overflow="fold")
    for name in ("median", "least", "most", "bar", "aim", ""):
        shown.add_column(name, justify="right", no_wrap=True)
    for figure in sorted(figures, key=lambda figure: figure.bar is None):
        bar = figure.bar
        wanted = ["", "", ""]
        if bar is not None:
            sign = "≥" if bar.is_to_be == "at least" else "≤"
            is_aimed = bar.is_met(figure.value, bar.aim)
            verdict = "aim" if is_aimed else "bar" if figure.is_met else "MISSED"
            wanted = [f"{sign} {plain(bar.bar)}", f"{sign} {plain(bar.aim)}", verdict]
        numbers = map(plain, (figure.value, min(figure.rounds), max(figure.rounds)))
        shown.add_row(figure.what, figure.key, *numbers, *wanted)
    return shown


def plain(value: float) -> str:
    """Four significant digits without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def wide_console() -> Console:
    """As wide as the table needs where it goes into a file."""
    console = Console()
    return console if console.is_terminal else Console(width=150)


def show(console: Console, figures: Sequence[Figure], title: str) -> None:
    console.print(table(figures, title))
    missed = [figure.key for figure in figures if not figure.is_met]
    if missed:
        console.print(f"Bars missed: {', '.join(missed)}", highlight=False)
