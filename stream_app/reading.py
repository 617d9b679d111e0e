"""Click files with a progress bar: what commands that read files share."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from stream_app.files import PRESETS, FileEvent, parse_mapping, read

PresetOption = Annotated[
    str | None, typer.Option(help=f"What kind of file it is: {', '.join(PRESETS)}.")
]
MappingOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="COLUMN=FIELD", help="Which column is which field; repeat."),
]


class FileChoice(NamedTuple):
    """Which files, and how their columns become fields."""

    files: Sequence[Path]
    preset: str | None = None
    mapping: Sequence[str] = ()
    sort: bool | None = None


def read_shown(choice: FileChoice, console: Console, what: str) -> Iterator[FileEvent]:
    """The events of ``stream_app.files.read`` with a bar over the bytes read, if anybody looks."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, events=0)
        events = read(
            choice.files,
            preset=choice.preset,
            mapping=parse_mapping(choice.mapping),
            sort=choice.sort,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            notice=lambda sentence: console.print(sentence, highlight=False),
        )
        for number, event in enumerate(events, 1):
            if number % 1000 == 0:
                bar.update(task, events=number)
            yield event
