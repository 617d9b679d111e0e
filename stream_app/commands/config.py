"""``clickahead config``: the settings in force, and where each of them comes from."""

import json
from typing import Annotated

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_app.invocation import settings_of
from stream_app.settings import Settings


def command(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Print nothing but warnings; exit 2 on an error.")
    ] = False,
) -> None:
    """Show the settings in force and where each comes from; secrets stay hidden."""
    settings = settings_of(context)
    for warning in settings.warnings():
        typer.echo(f"warning: {warning}", err=True)
    if check:
        return
    if as_json:
        typer.echo(json.dumps(described(settings), indent=2))
        return
    Console().print(table(settings))


def described(settings: Settings) -> dict[str, dict[str, object]]:
    """Value and origin by key, ready for JSON; a secret that is set reads ``**********``."""
    plain = settings.model_dump(mode="json")
    described = {}
    for key in settings.flat():
        section, _, name = key.partition(".")
        described[key] = {
            "value": plain[section][name],
            "origin": settings.origins.get(key, "default"),
        }
    return described


def table(settings: Settings) -> Table:
    """The same for people: defaults dim, what somebody gave bright."""
    rows = Table(title="Settings in force", title_justify="left")
    for heading in ("setting", "value", "from"):
        rows.add_column(heading, overflow="fold")
    for key, value in settings.flat().items():
        given = key in settings.origins
        rows.add_row(
            Text(key),
            Text(shown(value)),
            Text(settings.origins.get(key, "default")),
            style="bold" if given else "dim",
        )
    return rows


def shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, SecretStr):
        return str(value)
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value)
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value)
