"""``clickahead watch``: a topic as it grows."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Annotated, Any

import typer
from aiokafka import ConsumerRecord
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from stream_app.core.events import TOPICS
from stream_app.interrupts import run_until_ended
from stream_app.invocation import settings_of
from stream_app.kafka.connection import Connection
from stream_app.kafka.readable import shown
from stream_app.kafka.topic_reader import reader
from stream_app.kafka.watch import Keep, follow, keeps, place, time_of


def command(
    context: typer.Context,
    topic: Annotated[
        str, typer.Argument(help=f"Its name in Kafka, or its role: {', '.join(TOPICS)}.")
    ],
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest record.")
    ] = False,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="TEXT",
            help="Only records with this text, or field=value (inner fields: a.b=value);"
            " may be repeated, then all must match.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N records.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Fold long lines, do not cut them.")] = False,
) -> None:
    """Show committed records as they arrive; Ctrl-C ends it. Joins no consumer group."""
    settings = settings_of(context)
    name = settings.topic(topic) if topic in TOPICS else topic
    console = Console()
    layout: dict[str, Any] = {"soft_wrap": True}
    if console.is_terminal and not full:
        layout = {"no_wrap": True, "overflow": "ellipsis"}

    def show(record: ConsumerRecord) -> None:
        console.print(line(record), **layout)

    watching = watch(settings.connection(), name, from_beginning, keeps(filters or []), limit, show)
    run_until_ended(watching)


async def watch(
    connection: Connection,
    topic: str,
    from_beginning: bool,
    keep: Keep,
    limit: int | None,
    show: Callable[[ConsumerRecord], None],
) -> None:
    """Show the records that are kept, ``limit`` of them or for ever."""
    left = limit
    async with reader(connection) as consumer:
        await place(consumer, topic, from_beginning)
        async with aclosing(follow(consumer)) as records:
            async for record in records:
                if keep(record):
                    show(record)
                    left = None if left is None else left - 1
                if left == 0:
                    return


def line(record: ConsumerRecord) -> Text:
    """Time, place, key and value of a record."""
    value = JSONHighlighter()(Text(shown(record.value)))
    place = f"{record.partition}:{record.offset}"
    return Text.assemble(
        (time_of(record, None), "dim"),
        (f" {place:>12} ", "cyan"),
        (shown(record.key), "bold"),
        " ",
        value,
    )
