"""``clickahead train``: a served model from click files."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_app.invocation import UserError, settings_of
from stream_app.reading import FileChoice, MappingOption, read_shown


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
    from model.config import parse_pairs, with_settings
    from model.content import content_of
    from model.guide import NO_GUIDE
    from model.net_shape import SERVED_NETS
    from model.presets import AUTO, PRESETS, preset_for
    from model.settings_file import read_settings
    from model.team import joined
    from model.transfer import TransferConfig
    from stream_app.catalogue import read_catalogue
    from stream_app.files import PRESETS as FILE_PRESETS
    from stream_app.prepare.config import TRAIN, VALIDATION
    from stream_app.prepared import prepared_folder
    from stream_app.profile import profile
    from stream_app.recipe import split_settings
    from stream_app.sequences import ShapeConfig, build_log, cleaned, shape
    from stream_app.training import train_served
    from stream_app.transferring import begin_from, check_begun

    if preset not in (AUTO, *PRESETS, *FILE_PRESETS):
        names = ", ".join([AUTO, *PRESETS, *FILE_PRESETS])
        raise UserError(f"--preset {preset} is unknown; choose one of {names}.")
    texts = {**(read_settings(settings) if settings else {}), **parse_pairs(pairs or [])}
    of_transfer = {key: texts.pop(key) for key in TransferConfig.__struct_fields__ if key in texts}
    of_shape, texts = split_settings(texts)
    check_begun(begin, of_transfer, {**of_shape, **texts})
    if catalogue is not None and begin is None:
        raise UserError("--catalogue adds items to a model; add --from MODEL.")
    listed = [] if catalogue is None else read_catalogue(catalogue)

    team = context.with_resource(joined())
    core = settings_of(context).core_config()
    console = Console(stderr=True, quiet=not team.leads)
    is_file = preset in FILE_PRESETS
    choice = counted = FileChoice(files, preset if is_file else None, mapping or (), sort=True)
    folder = prepared_folder(files)
    if folder is not None:
        counted, choice = folder.choice(TRAIN), folder.choice(TRAIN, VALIDATION)
    found = profile(cleaned(read_shown(counted, console, "counting"), core))
    if folder is not None:
        found.made_up_times = folder.manifest.made_up_times
    spec, items = shape(found, with_settings(ShapeConfig(), of_shape))
    clicked = frozenset(items)
    items += tuple(item.item_id for item in listed if item.item_id not in clicked)
    earlier = None if begin is None else begin_from(begin, spec, items)
    if earlier is not None:
        spec, items = earlier.spec, earlier.items
    log = build_log(read_shown(choice, console, "reading"), spec, items, core)
    config = preset_for(AUTO if is_file else preset, log, spec)
    if folder is not None:
        log = folder.without_cut_sessions(log)
        config = folder.held_out(config, log)
    config = with_settings(config, texts)
    guide = NO_GUIDE
    if earlier is not None:
        config = earlier.settings(config)
        content = content_of(listed, items) if listed else None
        transfer = with_settings(TransferConfig(), of_transfer)
        guide = earlier.guide(log, config, transfer, content)
    console.print(
        f"{log.events:,} events, {log.sessions:,} sessions, {spec.item_count:,} items, "
        f"{len(spec.actions)} actions; {found.rejected:,} rows rejected",
        highlight=False,
    )
    manifest = train_served(
        lambda: read_shown(choice, console, "calibrating"),
        log,
        spec,
        items,
        config,
        core,
        out,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        console=console,
        guide=guide,
        team=team,
    )
    if not team.leads:
        return
    typer.echo(f"model {spec.name}-{manifest.fingerprint} in {out}")
    if config.net not in SERVED_NETS:
        typer.echo(
            f"A worker serves {', '.join(SERVED_NETS)}, not {config.net}: `evaluate` measures this"
            " model; one to serve comes with --set net=gru.",
            err=True,
        )
