"""``clickahead rejected``: look at dead letters, and send them again once their cause is mended."""

import asyncio
import signal
import sys
import time
from typing import Annotated, Any, cast

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from stream_app.core.events import REASONS, Reason, RejectedRecord, Source
from stream_app.dead_letter_pages import (
    ascii_json,
    letter_page,
    resent_sentence,
    selection_sentence,
    tally_object,
    tally_table,
)
from stream_app.dead_letter_replay import Resent, resend
from stream_app.dead_letter_topic import Selection, held_letters, letters, select
from stream_app.dead_letters import Tally, Wanted, decode_whole
from stream_app.invocation import ExitCode, UserError, settings_of
from stream_app.kafka.connection import Connection
from stream_app.kafka.readable import printable
from stream_app.kafka.topic_reader import reader
from stream_app.moments import moment_ms
from stream_app.progress import Report, progress
from stream_app.source_names import parse_source

group = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="List, show and send again what was rejected.",
)

ReasonOption = Annotated[
    list[str] | None,
    typer.Option("--reason", metavar="REASON", help=f"Only these: {', '.join(REASONS)}; repeat."),
]
PartitionOption = Annotated[
    list[int] | None, typer.Option("--partition", min=0, help="Only these; repeat.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="Only rejected since: 90s, 15m, 2h, 7d ago, or a date."),
]


@group.command("list")
def list_rejected(
    context: typer.Context,
    reason: ReasonOption = None,
    partition: PartitionOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(min=0, help="Show so many of the newest.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count dead letters by reason and show the newest.

    clickahead rejected list --reason schema --since 2h
    """
    wanted, since_ms = _wanted(reason, partition), _since(since)
    settings = settings_of(context)
    topic = settings.topic("rejected")
    with progress() as report:
        tally = asyncio.run(
            _tally(settings.connection(), topic, wanted, since_ms, Tally(limit), report)
        )
    if as_json:
        typer.echo(ascii_json(tally_object(tally)))
        return
    console = Console()
    counts = ", ".join(f"{count:,} {name}" for name, count in tally.reasons.most_common())
    console.print(
        Text(f"{tally.records:,} rejected in {topic}" + (f": {counts}" if counts else ""))
    )
    if tally.records and limit:
        console.print(tally_table(tally))


@group.command()
def show(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="TOPIC-PARTITION-OFFSET of the input record.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as it lies in Kafka.")] = False,
) -> None:
    """Show one dead letter whole. Nothing that is in it reaches the terminal as a command.

    clickahead rejected show clickahead.events-3-1287
    """
    wanted = parse_source(source)
    settings = settings_of(context)
    with progress() as report:
        letter = asyncio.run(
            _find(settings.connection(), settings.topic("rejected"), wanted, report)
        )
    if letter is None:
        raise UserError(
            f"{settings.topic('rejected')} holds no dead letter of {source}. It was accepted, or"
            " the letter is older than the topic's retention; see `clickahead rejected list`."
        )
    if as_json:
        typer.echo(ascii_json(msgspec.to_builtins(letter)))
    else:
        typer.echo("\n".join(letter_page(letter)))


@group.command()
def replay(
    context: typer.Context,
    reason: ReasonOption = None,
    partition: PartitionOption = None,
    since: SinceOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Send at most so many.")] = None,
    rate: Annotated[float, typer.Option(help="Records a second.")] = 1_000.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look, and send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Send dead letters to the input topic again: key, value, headers and partition as they were.

    What was sent again before is passed over, so an interrupted replay is simply run again. It is
    told by a header of the copies, as long as the input topic keeps them. Events that have become
    older than core.allowed_lateness_ms come back as late.

    clickahead rejected replay --reason schema --since 2h --dry-run
    """
    if not 0 < rate <= 1e9:
        raise UserError(f"--rate {rate:g} is no rate; give more than 0 records a second.")
    wanted, since_ms = _wanted(reason, partition), _since(since)
    settings = settings_of(context)
    connection, events = settings.connection(), settings.topic("events")
    with progress() as report:
        chosen = asyncio.run(
            select(connection, settings.topic("rejected"), events, wanted, since_ms, report)
        )
    _say(selection_sentence(chosen, events))
    if not chosen.records:
        return ExitCode.OK
    if not (dry_run or yes or _agreed(events)):
        _say("Nothing was sent.")
        return ExitCode.OK
    with progress() as report:
        done = asyncio.run(
            _resend(connection, events, chosen, limit=limit, rate=rate, dry=dry_run, report=report)
        )
    for name in done.lost:
        _say(f"{name} was cut at 64 KiB, and the input topic does not hold it any more: not sent")
    typer.echo(resent_sentence(done, events, dry_run))
    if done.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED if done.lost else ExitCode.OK


async def _tally(
    connection: Connection,
    topic: str,
    wanted: Wanted,
    since_ms: int,
    tally: Tally,
    report: Report,
) -> Tally:
    async with reader(connection) as consumer:
        held = await held_letters(consumer, topic, wanted, since_ms)
        found = letters(consumer, held, lambda done, total: report("looking", done, total))
        async for record, letter in found:
            if wanted.has(letter):
                tally.add(record.timestamp, letter)
    return tally


async def _find(
    connection: Connection, topic: str, source: Source, report: Report
) -> RejectedRecord | None:
    """The newest dead letter of an input record: a topic that was made anew may have had another
    record there."""
    value = None
    async with reader(connection) as consumer:
        wanted = Wanted(partitions=frozenset({source.partition}))
        held = await held_letters(consumer, topic, wanted, 0)
        found = letters(consumer, held, lambda done, total: report("looking", done, total))
        async for record, letter in found:
            if letter.source == source:
                value = record.value
    return None if value is None else decode_whole(value)


async def _resend(connection: Connection, events: str, chosen: Selection, **options: Any) -> Resent:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await resend(connection, events, chosen, stop=stop, **options)


def _wanted(reasons: list[str] | None, partitions: list[int] | None) -> Wanted:
    unknown = sorted(set(reasons or ()) - set(REASONS))
    if unknown:
        raise UserError(f"{', '.join(unknown)}: no such reason; there are {', '.join(REASONS)}.")
    known = cast(list[Reason], reasons or [])
    return Wanted(frozenset(known), frozenset(partitions or ()))


def _since(since: str | None) -> int:
    return 0 if since is None else moment_ms(since, time.time_ns() // 1_000_000)


def _agreed(events: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError("Nobody is there to be asked; give --yes to send, or --dry-run to look.")
    return typer.confirm(f"Send them to {events}?", err=True)


def _say(sentence: str) -> None:
    typer.echo(printable(sentence), err=True)
