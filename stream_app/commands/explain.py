"""``clickahead explain``: make an output of the past again, and show what was behind it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from aiokafka.admin import AIOKafkaAdminClient

from model.engine import EngineError, open_engine
from model.spec import Engine
from stream_app.bundled import model_directory
from stream_app.core.events import Source
from stream_app.dead_letter_pages import ascii_json
from stream_app.explanation import Explanation
from stream_app.explanation_page import explanation_page
from stream_app.invocation import ExitCode, UserError, settings_of
from stream_app.kafka.connection import opened
from stream_app.kafka.readable import printable
from stream_app.kafka.shell_config import changelog_of
from stream_app.kafka.topic_admin import read_topics
from stream_app.kafka.topic_reader import reader
from stream_app.kafka.topics import LAG
from stream_app.models_folder import models_in
from stream_app.progress import Report, progress
from stream_app.published import find_alert, find_event, find_source, published_with
from stream_app.question import Question
from stream_app.settings import Settings
from stream_app.source_names import find_source as source_of
from stream_app.source_names import parse_source
from stream_app.time_travel import Ground, travel

ROLES = ("events", "predictions", "anomalies", "control", "items")
PHASES = ("open", "raise", "close")


def command(
    context: typer.Context,
    event: Annotated[str | None, typer.Option(metavar="ID", help="The event's id.")] = None,
    alert: Annotated[str | None, typer.Option(metavar="ID", help="The alert's id.")] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="TOPIC-PARTITION-OFFSET of the input record."),
    ] = None,
    revision: Annotated[
        int, typer.Option(min=0, help="Of a prediction: later ones are corrections.")
    ] = 0,
    phase: Annotated[str, typer.Option(help=f"Of an alert: {', '.join(PHASES)}.")] = "open",
    model: Annotated[
        list[Path] | None,
        typer.Option(help="A model's folder, beside worker.model_dir; repeat."),
    ] = None,
    show_user: Annotated[
        bool, typer.Option("--show-user", help="Show the raw user id, from the input record.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Rebuild the state before an output, make the output again, and compare every byte.

    Exit code 0: identical; 1: different; 4: the topics no longer hold what it takes.

    clickahead explain --event 5f1c --json
    """
    if sum(given is not None for given in (event, alert, source)) != 1:
        raise UserError("Name one output: --event ID, --alert ID or --source SOURCE.")
    if phase not in PHASES:
        raise UserError(f"--phase {phase}: no such phase; there are {', '.join(PHASES)}.")
    settings = settings_of(context)
    asked = (event, alert, None if source is None else parse_source(source))
    open_models = opener(settings, model or [])
    with progress() as report:
        told = asyncio.run(
            _explain(settings, asked, revision, phase, show_user, open_models, report)
        )
    if as_json:
        typer.echo(ascii_json(msgspec.to_builtins(told)))
    else:
        typer.echo("\n".join(explanation_page(told)))
    return ExitCode.FAILED if told.identical is False else ExitCode.OK


async def _explain(
    settings: Settings,
    asked: tuple[str | None, str | None, Source | None],
    revision: int,
    phase: str,
    show_user: bool,
    open_models: Callable[[Iterable[str]], Mapping[str, Engine]],
    tell: Report,
) -> Explanation:
    connection = settings.connection()
    topics = {role: settings.topic(role) for role in ROLES}
    topics["changelog"] = changelog_of(settings.worker.app_id)
    admin = AIOKafkaAdminClient(**connection.client())
    async with opened(admin, connection):
        states = await read_topics(admin, [topics["changelog"]])
    lag = states[topics["changelog"]].config.get(LAG, "") if states else ""
    async with reader(connection, wait_ms=20) as consumer:
        event, alert, source = asked
        if event is not None:
            found = await find_event(consumer, topics, event, revision, tell)
            source = source_of(event)
        elif alert is not None:
            found = await find_alert(consumer, topics, alert, phase, tell)
        else:
            assert source is not None  # noqa: S101 (exactly one of the three is given)
            found = await find_source(consumer, topics, source, revision, tell)
        if found is not None:
            source = found.source
        if source is None or source.topic != topics["events"] or (found is None and revision):
            raise UserError(_not_found(settings, event, alert, source, revision, phase))
        along = [] if found is None else await published_with(consumer, topics, found)
        ground = Ground(consumer, topics, settings.core_config(), open_models, _duration(lag), tell)
        return await travel(ground, Question(source, found, along), show_user)


def opener(
    settings: Settings, folders: list[Path]
) -> Callable[[Iterable[str]], Mapping[str, Engine]]:
    """Opens model versions from the folders at hand, ``worker.models`` among them."""

    def open_models(versions: Iterable[str]) -> Mapping[str, Engine]:
        wanted = set(versions)
        promoted = models_in(settings.worker.models)()
        places = [*folders, model_directory(settings.worker.model_dir)]
        places += [promoted[version] for version in sorted(wanted & promoted.keys())]
        found: dict[str, Engine] = {}
        for place in places:
            if wanted <= found.keys():
                break
            engine = _opened(place)
            found[engine.version] = engine
        missing = sorted(wanted - found.keys())
        if missing:
            raise UserError(
                f"The output was made by model {missing[0]}, which is not at hand; name its folder"
                f" with --model. Here are: {', '.join(found)}."
            )
        return found

    return open_models


def _opened(folder: Path) -> Engine:
    try:
        return open_engine(folder)
    except EngineError as error:
        raise UserError(str(error)) from error


def _not_found(
    settings: Settings,
    event: str | None,
    alert: str | None,
    source: Source | None,
    revision: int,
    phase: str,
) -> str:
    if alert is not None:
        return (
            f"{settings.topic('anomalies')} holds no {phase} record of alert {printable(alert)};"
            " see `clickahead watch anomalies --from-beginning`."
        )
    if source is not None and source.topic != settings.topic("events"):
        return f"{source.topic} is not the input topic, which is {settings.topic('events')}."
    return (
        f"{settings.topic('predictions')} holds no revision {revision} of"
        f" {printable(event or 'that record')}. Rejected records are asked for with --source."
    )


def _duration(lag_ms: str) -> str:
    if not lag_ms.isdigit():
        return "an unknown time"
    return f"{int(lag_ms) / 3_600_000:g} hours"
