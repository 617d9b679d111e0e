"""``clickahead models``: a folder of model versions, their descent, and which one answers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from model.registry import Entry, Registry
from stream_app.invocation import UserError

group = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Keep model versions in a folder: list, show, add, promote, rollback.",
)

Root = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder of the versions; workers: worker.models.")
]
Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="NAME-FINGERPRINT, or the beginning of it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@group.command("list")
def list_models(root: Root, as_json: AsJson = False) -> None:
    """List the versions of a folder, and which one answers.

    clickahead models list models/
    """
    registry = Registry(root)
    book, live = registry.book(), registry.live()
    if as_json:
        typer.echo(msgspec.json.encode({"live": live, "models": book.models}))
        return
    if not book.models:
        typer.echo(f"{root} has no models; add one: clickahead models add {root} MODEL_DIR")
        return
    table = Table(box=None)
    for column in ("version", "added", "parent", "metrics", ""):
        table.add_column(column, overflow="fold")
    for entry in book.models:
        is_live = "answers" if entry.version == live else ""
        table.add_row(entry.version, entry.added_at, entry.parent or "", _metrics(entry), is_live)
    Console().print(table)


@group.command("show")
def show(root: Root, version: Version, as_json: AsJson = False) -> None:
    """Show where a version comes from, what it reads, and when it answered.

    clickahead models show models/ demo-3f2a
    """
    registry = Registry(root)
    entry = registry.entry(_version(registry, version))
    manifest = registry.manifest_of(entry.version)
    promotions = [p for p in registry.book().promotions if p.version == entry.version]
    spec = manifest.spec
    shown: dict[str, Any] = {
        **msgspec.structs.asdict(entry),
        "folder": str(registry.path_of(entry.version)),
        "live": registry.live() == entry.version,
        "descent": registry.descent(entry.version),
        "items": spec.item_count,
        "actions": spec.actions,
        "features": spec.features,
        "hidden_width": spec.hidden_width,
        "ring_length": spec.ring_length,
        "promotions": [f"{p.action} {p.at}" for p in promotions],
    }
    if as_json:
        typer.echo(msgspec.json.encode(shown))
        return
    for name, value in shown.items():
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        typer.echo(f"{name:13} {text if text not in ('', None) else '-'}")


@group.command("add")
def add(
    root: Root,
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="An exported model.")],
    parent: Annotated[
        str | None, typer.Option(metavar="VERSION", help="The version that it descends from.")
    ] = None,
) -> None:
    """Copy an exported model into the folder; one that could not be served is refused.

    clickahead models add models/ trained/ --parent demo-3f2a
    """
    registry = Registry(root)
    known = registry.versions()
    version = registry.add(model, _now(), None if parent is None else _version(registry, parent))
    said = "is there already" if version in known else "added"
    typer.echo(f"{version} {said}")


@group.command("promote")
def promote(root: Root, version: Version) -> None:
    """Note that a version answers from now on. Running workers are told by `clickahead control`.

    clickahead models promote models/ demo-3f2a
    """
    registry = Registry(root)
    chosen = _version(registry, version)
    before = registry.promote(chosen, _now())
    was = f"before it: {before}" if before else "the first one"
    typer.echo(f"{chosen} answers ({was})")
    typer.echo(f"Running workers follow after: clickahead control promote {chosen}", err=True)


@group.command("rollback")
def rollback(root: Root) -> None:
    """Return to the version that answered before.

    clickahead models rollback models/
    """
    version = Registry(root).roll_back(_now())
    typer.echo(f"{version} answers again")
    typer.echo(f"Running workers follow after: clickahead control promote {version}", err=True)


def _version(registry: Registry, given: str) -> str:
    """The one version that begins with what was given."""
    versions = registry.versions()
    found = [given] if given in versions else [v for v in versions if v.startswith(given)]
    if len(found) == 1:
        return found[0]
    if not found:
        known = ", ".join(versions) or "none"
        raise UserError(f"{registry.root} has no model {given}; it has: {known}")
    raise UserError(f"{given} is the beginning of {', '.join(found)}; give more of it")


def _metrics(entry: Entry) -> str:
    held_out = entry.metrics.get("held_out")
    numbers = held_out.items() if isinstance(held_out, dict) else ()
    return ", ".join(f"{name} {value:.4f}" for name, value in numbers)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
