"""``clickahead topics``: create the topics that are missing, check those that exist."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stream_app.core.events import TOPICS
from stream_app.invocation import ExitCode, settings_of
from stream_app.kafka.shell_config import TABLE
from stream_app.kafka.topic_admin import TopicReport, ensure_topics
from stream_app.settings import Settings


def command(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Only look; create nothing.")] = False,
) -> None:
    """Create the topics that are missing and check the others; exit 1 where one will not do."""
    settings = settings_of(context)
    report = asyncio.run(ensured(settings, create=not check))
    Console().print(table(report))
    missing = [spec.name for spec in report.specs if spec.name not in report.states]
    for name in missing:
        typer.echo(f"{name} does not exist. Run `clickahead topics` to create it.", err=True)
    for sentence in report.mismatches:
        typer.echo(sentence, err=True)
    if missing or report.mismatches:
        raise typer.Exit(ExitCode.FAILED)


async def ensured(settings: Settings, create: bool) -> TopicReport:
    """The topics of these settings, created where they are missing."""
    given = "kafka.replication_factor" in settings.origins
    return await ensure_topics(
        settings.connection(),
        {role: settings.topic(role) for role in TOPICS},
        f"{settings.worker.app_id}-{TABLE}-changelog",
        settings.worker.partitions,
        replicas=settings.kafka.replication_factor if given else None,
        create=create,
        horizon_ms=settings.topics.explain_horizon_ms,
    )


def table(report: TopicReport) -> Table:
    """A row for each topic."""
    rows = Table(box=None)
    for heading in ("role", "topic", "partitions", "replicas", "state"):
        rows.add_column(heading, overflow="fold")
    wrong = {sentence.split(" ", 1)[0] for sentence in report.mismatches}
    for spec in report.specs:
        state = report.states.get(spec.name)
        if state is None:
            rows.add_row(spec.role, spec.name, "", "", "missing", style="red")
            continue
        verdict = "created" if spec.name in report.created else "exists"
        rows.add_row(
            spec.role,
            spec.name,
            str(state.partitions),
            str(state.replicas),
            "will not do" if spec.name in wrong else verdict,
            style="red" if spec.name in wrong else None,
        )
    return rows
