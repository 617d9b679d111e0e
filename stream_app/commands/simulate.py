"""``clickahead simulate``: the clicks of a seeded shop, to a file or, when due, to Kafka."""

import asyncio
import itertools
import signal
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from stream_app.commands.produce import require_topic, sentence
from stream_app.core.clean import epoch_ms
from stream_app.files import FileEvent
from stream_app.invocation import ExitCode, UserError, settings_of
from stream_app.kafka.connection import Connection, opened
from stream_app.produce import Produced, produce, producer_of
from stream_app.simulate import (
    ATTACKS,
    START_MS,
    Label,
    SimulatedEvent,
    SimulatorConfig,
    items_of,
    simulate,
)
from stream_app.simulate.live import at_arrival
from stream_app.simulate.writing import label_json, write_events, write_items

DEFAULT_EVENTS = 100_000


def command(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option(help="File to write, JSON Lines; .gz compresses it.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="File for the truth about attacks, JSON Lines.")
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(help="File for the shop's items, vectors included, JSON Lines."),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Send to this topic instead, as the events fall due.")
    ] = None,
    labels_topic: Annotated[
        str | None, typer.Option(help="Topic for the truth about attacks.")
    ] = None,
    events: Annotated[
        int | None, typer.Option(min=0, help=f"How many; to a file {DEFAULT_EVENTS:,} by default.")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(min=0, help="How long in event time, instead of how many.")
    ] = None,
    users: Annotated[int, typer.Option(help="Users of the shop.")] = 5_000,
    items: Annotated[int, typer.Option(help="Items of the shop.")] = 500,
    categories: Annotated[int, typer.Option(help="Categories of items.")] = 20,
    rate: Annotated[float, typer.Option(help="Events a second, on average over a week.")] = 2.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    start: Annotated[
        str | None, typer.Option(help="First event time, RFC 3339; with --topic it is now.")
    ] = None,
    attacks: Annotated[
        str, typer.Option(help=f"all, none, or some of {','.join(ATTACKS)}.")
    ] = "all",
    attack_every: Annotated[
        int, typer.Option(help="Honest events between two attacks, on average.")
    ] = 5_000,
    dirt: Annotated[
        float, typer.Option(help="Share of events that come twice, late or broken.")
    ] = 0.0,
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="Instead of the setting kafka.bootstrap_servers.")
    ] = None,
) -> int:
    """Write the clicks of a seeded shop, planted attacks included; labels go elsewhere."""
    if (out is None) == (topic is None):
        raise UserError("Give --out FILE or --topic NAME, one of them.")
    if (labels is not None and out is None) or (labels_topic is not None and topic is None):
        raise UserError("--labels goes with --out, --labels-topic with --topic.")
    if events is not None and hours is not None:
        raise UserError("Give --events or --hours, one of them.")
    if topic is not None and start is not None:
        raise UserError("--start has no use with --topic: there event time is the clock's.")
    config = SimulatorConfig(
        users=users,
        items=items,
        categories=categories,
        events_per_second=rate,
        start_ms=_now_ms() if topic is not None else start_ms(start),
        # A stream that is watched keeps its rate, whatever the hour.
        day_cycle=0.0 if topic is not None else SimulatorConfig().day_cycle,
        attacks=attack_kinds(attacks),  # type: ignore[arg-type]  # SimulatorConfig judges them
        attack_every_events=attack_every,
        dirt=dirt,
    )
    if catalogue is not None:
        try:
            write_items(items_of(config, Random(seed)), catalogue)  # noqa: S311 (a simulation)
        except OSError as error:
            raise UserError(f"{catalogue} cannot be written: {error.strerror}.") from None
    stream = simulate(config, Random(seed))  # noqa: S311 (a simulation)
    if hours is not None:
        end_ms = config.start_ms + int(hours * 3_600_000)
        stream = itertools.takewhile(lambda event: event.arrived_ms < end_ms, stream)
    elif events is not None or out is not None:
        stream = itertools.islice(stream, DEFAULT_EVENTS if events is None else events)
    if out is not None:
        return _to_file(stream, out, labels)
    settings = settings_of(
        context, {"input.topic": topic, "kafka.bootstrap_servers": bootstrap_servers}
    )
    sent = asyncio.run(
        _to_kafka(stream, settings.connection(), settings.topic("events"), labels_topic)
    )
    typer.echo(sentence(sent, settings.topic("events")))
    return ExitCode.INTERRUPTED if sent.interrupted else ExitCode.OK


def start_ms(start: str | None) -> int:
    """The first event time in epoch milliseconds."""
    if start is None:
        return START_MS
    found = epoch_ms(start)
    if found is None:
        raise UserError(f"--start {start} is no time; write it as in 2026-01-05T00:00:00Z.")
    return found


def attack_kinds(argument: str) -> tuple[str, ...]:
    """What ``--attacks`` names."""
    if argument == "all":
        return ATTACKS
    return () if argument == "none" else tuple(name.strip() for name in argument.split(","))


def _to_file(stream: Iterator[SimulatedEvent], out: Path, labels: Path | None) -> int:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.completed:,} events"),
        BarColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        try:
            written = write_events(
                stream, out, labels, progress=lambda count: bar.update(task, completed=count)
            )
        except OSError as error:
            raise UserError(f"{error.filename} cannot be written: {error.strerror}.") from None
    typer.echo(
        f"wrote {written.events} events to {out}; {written.attack_events} of them belong to"
        f" {written.attacks} attacks" + ("" if labels is None else f", labelled in {labels}")
    )
    return ExitCode.OK


async def _to_kafka(
    stream: Iterator[SimulatedEvent], connection: Connection, topic: str, labels_topic: str | None
) -> Produced:
    stop, over = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    labels: deque[Label] = deque()

    def chunks() -> Iterator[list[FileEvent]]:
        for chunk in at_arrival(stream, _now_ms):
            if labels_topic is not None:
                labels.extend(event.label for event in chunk if event.label is not None)
            yield [event.event for event in chunk]

    def label_chunks() -> Iterator[list[FileEvent]]:
        while labels or not over.is_set():
            found = [labels.popleft() for _ in range(len(labels))]
            yield [FileEvent(label.user_id.encode(), label_json(label)) for label in found]

    async with opened(producer_of(connection.client()), connection) as producer:
        for name in (topic, labels_topic):
            if name is not None:
                await require_topic(producer, name)
        if labels_topic is None:
            return await produce(chunks(), producer, topic, stop=stop)
        telling = asyncio.ensure_future(produce(label_chunks(), producer, labels_topic))
        try:
            return await produce(chunks(), producer, topic, stop=stop)
        finally:
            over.set()
            await telling


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
