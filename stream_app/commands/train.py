"""``clickahead train``: a served model from click files."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_app.invocation import settings_of
from stream_app.reading import MappingOption, read_shown


def command(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            help="CSV, TSV, JSON Lines or Parquet, plain or gzipped; or one prepared folder."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the model; a killed run goes on in it.")],
    preset: Annotated[
        str,
        typer.Option(
            help="How to train, or what kind of file it is (as for produce); `auto` looks at the"
            " data."
        ),
    ] = "auto",
    pairs: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one training setting; repeat."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Settings in TOML or JSON, as `tune` writes; --set wins."
        ),
    ] = None,
    begin: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Begin from this model: its items and actions are kept, new ones come behind."
            " --set freeze=embedding|recurrent|body or --set lora_rank=8 holds on to it.",
        ),
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --from: the items as JSON Lines, as in the items topic. Items that nobody"
            " has clicked yet join the model, placed by what the catalogue says of them.",
        ),
    ] = None,
    mapping: MappingOption = None,
) -> None:
    """Train a next-item and next-action model, calibrate its anomaly scores, and export it.

    Example: clickahead train clicks.parquet --out model

    Of a folder that `prepare` filled the training part is learned, and the validation part chooses
    the epoch and calibrates; --set refit=true then learns both. The test part is never read.

    Example: clickahead train prepared/ --out model

    Example: clickahead train new-shop.csv --from model --set freeze=recurrent --out new-model

    Example: clickahead train clicks.csv --from model --catalogue items.jsonl --set epochs=0 --out m

    Several processes divide the batches of one training, on one machine or several:

    Example: torchrun --nproc-per-node 2 -m stream_app train clicks.parquet --out model
    """
    # Threads that spin while they wait make training several times slower beside any busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # torch costs seconds: only who trains pays for it.
    from model.config import parse_pairs
    from model.net_shape import SERVED_NETS
    from model.settings_file import read_settings
    from model.team import joined
    from stream_app.beginning import Named, read_beginning
    from stream_app.training import train_served

    texts = {**(read_settings(settings) if settings else {}), **parse_pairs(pairs or [])}
    named = Named.of(files, preset, mapping or (), begin, catalogue, texts)
    team = context.with_resource(joined())
    core = settings_of(context).core_config()
    console = Console(stderr=True, quiet=not team.leads)
    begun = read_beginning(named, core, console)
    spec, items, log = begun.material
    console.print(
        f"{log.events:,} events, {log.sessions:,} sessions, {spec.item_count:,} items, "
        f"{len(spec.actions)} actions; {begun.rejected:,} rows rejected",
        highlight=False,
    )
    manifest = train_served(
        lambda: read_shown(begun.learned, console, "calibrating"),
        log,
        spec,
        items,
        begun.config,
        core,
        out,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        console=console,
        guide=begun.guide,
        team=team,
    )
    if not team.leads:
        return
    typer.echo(f"model {spec.name}-{manifest.fingerprint} in {out}")
    if begun.config.net not in SERVED_NETS:
        typer.echo(
            f"A worker serves {', '.join(SERVED_NETS)}, not {begun.config.net}: `evaluate` measures"
            " this model; one to serve comes with --set net=gru.",
            err=True,
        )
