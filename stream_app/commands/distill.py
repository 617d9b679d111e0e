"""``clickahead distill``: a small model that answers nearly as well as large ones."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_app.invocation import UserError, settings_of
from stream_app.reading import FileChoice, MappingOption, PresetOption


def command(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="TEACHER... DATA...",
            help="Folders of trained models, several are averaged; then click files to learn from.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the model; a killed run goes on in it.")],
    test: Annotated[
        list[Path] | None,
        typer.Option(
            help="Click files to measure on; without it the newest part of DATA. No teacher may"
            " have been trained on them: it would know the answers."
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0.001, max=0.9, help="Share of the sessions to measure on.")
    ] = 0.05,
    bound: Annotated[
        float,
        typer.Option(help="Share of the teacher's Recall@20 to keep, or nothing is exported."),
    ] = 0.98,
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="temperature, teacher_weight, hidden_width, or a training setting; repeat.",
        ),
    ] = None,
    preset: PresetOption = None,
    mapping: MappingOption = None,
) -> None:
    """Teach a GRU what a Transformer, or several models, expect, and export it.

    The student learns from DATA and from the teachers' best guesses on it. It is exported if it
    keeps --bound of their Recall@20 on events that it has not seen; bound.json has the figures.

    Example: clickahead distill transformer/ old-gru/ clicks.parquet --out small/
    """
    # Threads that spin while they wait make training several times slower beside any busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # torch costs seconds: only who trains pays for it.
    import msgspec

    from model.bound import parity_table
    from model.checkpoint import load
    from model.config import parse_pairs, with_settings
    from model.distil import DistilConfig, Taught, Teachers, distil
    from stream_app.held_out import calibrate, gru_recipe, parted

    folders = [path for path in paths if path.is_dir()]
    files = [path for path in paths if not path.is_dir()]
    if not folders or not files:
        raise UserError(
            f"{'no teacher' if not folders else 'no click file'} is given; name at least one "
            "folder of a trained model and one click file."
        )
    texts = parse_pairs(pairs or [])
    names = [name for name in DistilConfig.__struct_fields__ if name in texts and name != "bound"]
    mine = {name: texts.pop(name) for name in names}
    config = with_settings(DistilConfig(bound=bound), mine)
    teachers = Teachers([load(folder) for folder in folders])
    width = {"hidden_width": texts.pop("hidden_width")} if "hidden_width" in texts else {}
    spec = with_settings(teachers.spec, width)
    spec = msgspec.structs.replace(spec, name="distilled")

    core, console = settings_of(context).core_config(), Console(stderr=True)
    choice = FileChoice(files, preset, mapping or (), sort=True)
    data = parted(choice, test or (), held_out, spec, teachers.items, core, console)
    train_config = gru_recipe(data, spec, texts, "a student")
    parity = distil(
        teachers,
        Taught(data.log, data.exam),
        spec,
        train_config,
        config,
        out,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        console=console,
    )
    calibrate(out, data, core)
    Console().print(parity_table(parity))
    typer.echo(f"model {spec.name}-{load(out).manifest.fingerprint} in {out}")
