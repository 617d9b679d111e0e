"""``clickahead heartbeat``: tell idle partitions what time it is."""

import time
from typing import Annotated

import typer

from stream_app.interrupts import run_until_ended
from stream_app.invocation import settings_of
from stream_app.kafka.heartbeat import Encoding, beat, heartbeat_value


def command(
    context: typer.Context,
    idle: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="Age of the newest record that makes a partition idle."
        ),
    ] = 60.0,
    every: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Go on for ever, at this interval."),
    ] = None,
) -> None:
    """Move the event time of idle partitions of the input topic to now, so that sessions close.

    For live streams: in a stream of old events it would make all that follow late.
    """
    settings = settings_of(context)
    encoding: Encoding = "msgpack" if settings.input.format == "msgpack" else "json"

    def report(partitions: list[int]) -> None:
        names = ", ".join(map(str, partitions)) or "none"
        typer.echo(f"heartbeat to {len(partitions)} idle partitions of {topic}: {names}")

    topic = settings.input.topic
    beating = beat(
        settings.connection(),
        topic,
        int(idle * 1000),
        lambda at_ms: heartbeat_value(at_ms, settings.input.fields, encoding),
        lambda: time.time_ns() // 1_000_000,
        every,
        report,
    )
    run_until_ended(beating)
