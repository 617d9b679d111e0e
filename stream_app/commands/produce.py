"""``clickahead produce``: click files to the input topic."""

import asyncio
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from stream_app.files import FileEvent, parse_mapping, read
from stream_app.invocation import ExitCode, UserError, settings_of
from stream_app.kafka.connection import Connection, opened
from stream_app.pace import at_once, at_rate
from stream_app.produce import Produced, produce, producer_of
from stream_app.reading import MappingOption, PresetOption


def command(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(help="CSV, TSV, JSON Lines or Parquet, plain or gzipped.")
    ],
    rate: Annotated[
        float | None, typer.Option(help="Events a second; without it as fast as Kafka takes them.")
    ] = None,
    preset: PresetOption = None,
    mapping: MappingOption = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Stop after so many events.")] = None,
    sort: Annotated[
        bool | None,
        typer.Option(
            "--sort/--no-sort",
            help="Send in the order of time; without either: where the preset says so.",
        ),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Instead of the setting input.topic.")] = None,
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="Instead of the setting kafka.bootstrap_servers.")
    ] = None,
) -> int:
    """Send the events of click files to the input topic, keyed by user."""
    if rate is not None and not 0 < rate <= 1e9:
        raise UserError(f"--rate {rate:g} is no rate; give more than 0 events a second.")
    settings = settings_of(
        context, {"input.topic": topic, "kafka.bootstrap_servers": bootstrap_servers}
    )
    if settings.input.fields:
        raise UserError(
            f"input.fields says that {settings.input.topic} has its own field names, and produce"
            " writes the canonical ones; name another topic with --topic and a settings file"
            " without input.fields."
        )
    console = Console(stderr=True)
    with progress_bar(console) as bar:
        task = bar.add_task("", total=None, events=0, speed=0.0)
        events = read(
            files,
            preset=preset,
            mapping=parse_mapping(mapping or []),
            sort=sort,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            notice=lambda sentence: console.print(sentence, highlight=False),
        )
        # Sorting happens before the first event comes out: before anybody waits for Kafka.
        first = list(itertools.islice(events, 1))
        rest: Iterator[FileEvent] = itertools.islice(itertools.chain(first, events), limit)
        name = settings.topic("events")
        sent = asyncio.run(
            _send(rest, settings.connection(), name, rate, lambda n: _show(bar, task, n))
        )
    typer.echo(sentence(sent, name))
    if sent.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED if sent.oversized else ExitCode.OK


async def _send(
    events: Iterator[FileEvent],
    connection: Connection,
    topic: str,
    rate: float | None,
    progress: Callable[[int], None],
) -> Produced:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with opened(producer_of(connection.client()), connection) as producer:
        await require_topic(producer, topic)
        chunks = at_once(events) if rate is None else at_rate(events, rate, time.monotonic)
        return await produce(chunks, producer, topic, progress=progress, stop=stop)


async def require_topic(producer: Any, topic: str) -> None:
    """Raise UserError where the topic is not there: a broker would create it, with a number of
    partitions that nobody chose."""
    known = await producer.client.fetch_all_metadata()
    if topic not in known.topics():
        raise UserError(f"There is no topic {topic}; create the topics with `clickahead topics`.")


def progress_bar(console: Console) -> AbstractContextManager[Progress]:
    """A bar over the bytes read, with events and their rate; nothing where nobody watches."""
    return Progress(
        TextColumn("{task.fields[events]:,} events"),
        BarColumn(),
        TextColumn("{task.fields[speed]:,.0f}/s"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def sentence(sent: Produced, topic: str) -> str:
    """The last line: what went where, and what did not."""
    per_second = sent.total / sent.seconds if sent.seconds > 0 else 0.0
    text = (
        f"sent {sent.total} events to {topic} in {sent.seconds:.1f} s ({per_second:,.0f}/s);"
        f" by partition: {' '.join(map(str, sent.sent))}"
    )
    if sent.oversized:
        text += f"; {sent.oversized} too large for Kafka, not sent"
    return text + ("; interrupted" if sent.interrupted else "")


def _show(bar: Progress, task: Any, events: int) -> None:
    elapsed = bar.tasks[0].elapsed or 0.0
    bar.update(task, events=events, speed=events / elapsed if elapsed > 0 else 0.0)
