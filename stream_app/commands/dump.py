"""``clickahead dump``: a topic's records as JSON Lines."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stream_app.core.events import TOPICS
from stream_app.invocation import settings_of
from stream_app.kafka.dump import dump_writer
from stream_app.kafka.dump_topic import dump_topic


def command(
    context: typer.Context,
    topic: Annotated[
        str, typer.Argument(help=f"Its name in Kafka, or its role: {', '.join(TOPICS)}.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write; packed where it ends in .gz.")],
) -> None:
    """Write what a topic holds now to a file: committed records, partition after partition."""
    settings = settings_of(context)
    name = settings.topic(topic) if topic in TOPICS else topic
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(f"{name}, offsets", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        with dump_writer(out) as write:
            written = asyncio.run(dump_topic(settings.connection(), name, write, report))
    typer.echo(f"{written} records of {name} in {out}", err=True)
