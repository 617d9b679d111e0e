"""``clickahead compress``: a smaller form of a model, as long as it answers nearly as well."""

import os
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_app.invocation import settings_of
from stream_app.reading import FileChoice, MappingOption, PresetOption


class How(StrEnum):
    magnitude = "magnitude"
    structured = "structured"
    int8_dynamic = "int8-dynamic"
    int8_static = "int8-static"
    fp16 = "fp16"


def command(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A trained model's folder.")],
    files: Annotated[
        list[Path], typer.Argument(metavar="DATA...", help="Click files it was trained on.")
    ],
    method: Annotated[
        How,
        typer.Option(
            help="magnitude: small weights become 0; structured: hidden units go; int8-static,"
            " int8-dynamic: the step's products in int8; fp16: half the memory of a user."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the model; a killed run goes on in it.")],
    share: Annotated[float, typer.Option(help="Share of weights or hidden units to prune.")] = 0.25,
    test: Annotated[
        list[Path] | None,
        typer.Option(help="Click files to measure on; without it the newest part of DATA."),
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0.001, max=0.9, help="Share of the sessions to measure on.")
    ] = 0.05,
    bound: Annotated[
        float, typer.Option(help="Share of the model's Recall@20 to keep, or nothing is exported.")
    ] = 0.98,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the training after pruning."),
    ] = None,
    preset: PresetOption = None,
    mapping: MappingOption = None,
) -> None:
    """Prune or quantise a model, compare it with what it was, and export it if it is good enough.

    bound.json in the folder has Recall@20, size and microseconds an event of both.

    Example: clickahead compress model/ clicks.parquet --method structured --share 0.25 --out small/
    """
    # Threads that spin while they wait make training several times slower beside any busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # torch costs seconds: only who trains pays for it.
    from model.bound import parity_table
    from model.checkpoint import load
    from model.compress import METHODS, compress
    from model.config import parse_pairs
    from model.distil import Taught
    from stream_app.held_out import calibrate, gru_recipe, parted

    core, console = settings_of(context).core_config(), Console(stderr=True)
    saved = load(model)
    choice = FileChoice(files, preset, mapping or (), sort=True)
    data = parted(choice, test or (), held_out, saved.spec, saved.items, core, console)
    texts = parse_pairs(pairs or [])
    config = gru_recipe(data, saved.spec, texts, "a pruned model", epochs=2, learning_rate=1e-3)
    parity = compress(
        saved,
        Taught(data.log, data.exam),
        METHODS[list(How).index(method)],
        share,
        config,
        bound,
        out,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        console=console,
    )
    calibrate(out, data, core)
    Console().print(parity_table(parity))
    for note in parity.notes:
        typer.echo(note)
    done = load(out)
    typer.echo(f"model {done.spec.name}-{done.manifest.fingerprint} in {out}")
