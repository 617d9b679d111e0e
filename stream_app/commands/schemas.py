"""``clickahead schemas``: write the topics' JSON Schemas, or check the committed ones."""

import difflib
import json
from pathlib import Path
from typing import Annotated

import typer

from stream_app.invocation import ExitCode
from stream_app.schemas import breaks, encode, schemas


def command(
    out: Annotated[Path, typer.Option(help="Folder of the schemas, one TOPIC.json each.")] = Path(
        "deploy/schemas"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail when the folder is out of date.")
    ] = False,
    allow_breaking: Annotated[
        bool,
        typer.Option(
            "--allow-breaking", help="Write a schema even where readers or old records break."
        ),
    ] = False,
) -> None:
    """Write the JSON Schema of every topic, or check that the written ones are up to date."""
    committed = {path.stem: path.read_text() for path in sorted(out.glob("*.json"))}
    generated = {topic: encode(schema) for topic, schema in schemas().items()}
    broken = incompatible(committed, generated)
    for problem in broken:
        typer.echo(f"incompatible: {problem}", err=True)
    if check:
        difference = drift(committed, generated)
        typer.echo(difference, nl=False)
        if difference or broken:
            typer.echo(
                f"{out} does not match the structs in stream_app/core/events.py; if the change is"
                f" meant, run: clickahead schemas --out {out}",
                err=True,
            )
            raise typer.Exit(ExitCode.FAILED)
        typer.echo(f"{len(generated)} schemas in {out} are up to date")
        return
    if broken and not allow_breaking:
        typer.echo(
            "Nothing was written. Keep the old field and add a new one with a default, or pass"
            " --allow-breaking if nobody relies on the old form.",
            err=True,
        )
        raise typer.Exit(ExitCode.FAILED)
    out.mkdir(parents=True, exist_ok=True)
    for topic in committed.keys() - generated.keys():
        (out / f"{topic}.json").unlink()
    for topic, text in generated.items():
        (out / f"{topic}.json").write_text(text)
    typer.echo(f"wrote {len(generated)} schemas to {out}")


def incompatible(committed: dict[str, str], generated: dict[str, str]) -> list[str]:
    """How the generated schemas break those who rely on the committed ones, as sentences."""
    problems = [f"{topic}: the topic was removed" for topic in committed.keys() - generated.keys()]
    for topic in sorted(committed.keys() & generated.keys()):
        problems += breaks(topic, json.loads(committed[topic]), json.loads(generated[topic]))
    return problems


def drift(committed: dict[str, str], generated: dict[str, str]) -> str:
    """A unified diff from the committed files to the generated ones; empty when they are equal."""
    return "".join(
        line
        for topic in sorted(committed.keys() | generated.keys())
        for line in difflib.unified_diff(
            committed.get(topic, "").splitlines(keepends=True),
            generated.get(topic, "").splitlines(keepends=True),
            f"committed/{topic}.json",
            f"generated/{topic}.json",
        )
    )
