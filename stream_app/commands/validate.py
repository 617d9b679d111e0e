"""``clickahead validate``: a training recipe judged on several stretches of time."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_app.invocation import UserError, settings_of
from stream_app.reading import FileChoice, MappingOption, PresetOption


def command(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Click files.")],
    out: Annotated[Path, typer.Option(help="Folder of the folds; a killed validation goes on.")],
    folds: Annotated[int, typer.Option(min=1, help="Stretches of time.")] = 4,
    share: Annotated[
        float, typer.Option(min=0.001, max=0.999, help="Of the sessions in each of them.")
    ] = 0.1,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one training setting; repeat."),
    ] = None,
    preset: PresetOption = None,
    mapping: MappingOption = None,
) -> None:
    """Train on what came before each of several stretches of time, and measure on it.

    Settings that are good once may have been lucky; those that are good in every fold are good.
    OUT gets rolling.json.

    Example: clickahead validate clicks.parquet --out folds --folds 4 --set net=lstm
    """
    # Threads that spin while they wait make training several times slower beside any busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # torch costs seconds: only who trains pays for it.
    import msgspec

    from model.checkpoint import write_atomically
    from model.config import parse_pairs, with_settings
    from model.presets import AUTO, preset_for
    from model.rolling import check_folds, rolling, table
    from stream_app.recipe import read_material, split_settings
    from stream_app.sequences import ShapeConfig

    of_shape, texts = split_settings(parse_pairs(pairs or []))
    if wrong := sorted(texts.keys() & {"held_out", "leave_one_out", "refit"}):
        raise UserError(
            f"--set {wrong[0]} is not for a validation: --folds and --share say what is held out."
        )
    check_folds(folds, share)
    core, console = settings_of(context).core_config(), Console(stderr=True)
    choice = FileChoice(files, preset, mapping or (), sort=True)
    shaped = with_settings(ShapeConfig(), of_shape)
    spec, items, log = read_material(choice, shaped, core, console)
    config = with_settings(preset_for(AUTO, log, spec), texts)
    made = rolling(log, spec, items, config, folds, share, out, console=console)
    text = msgspec.json.format(msgspec.json.encode(made), indent=2)
    write_atomically(out / "rolling.json", text + b"\n")
    Console().print(table(made))
