"""``clickahead continue``: a model that goes on learning, day by day."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_app.invocation import settings_of
from stream_app.reading import FileChoice, MappingOption, PresetOption, read_shown


def command(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A trained model's folder.")],
    days: Annotated[
        list[Path], typer.Argument(metavar="DAY...", help="Click files, one a day, oldest first.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the model; a killed run goes on in it.")],
    compare: Annotated[
        bool,
        typer.Option(help="Learn the days a second time by plain fine-tuning, to compare."),
    ] = True,
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="replay_share, ewc, ewc_decay, held_out, or a training setting; repeat.",
        ),
    ] = None,
    preset: PresetOption = None,
    mapping: MappingOption = None,
) -> None:
    """Learn new days without forgetting the old ones, and measure what is forgotten.

    Sessions of earlier days are replayed, and weights that mattered to them are held (EWC). After
    each day the model is asked about the newest sessions of every day, which it never learns.
    New items and actions are added as they come. continual.json has the tables.

    Example: clickahead continue model/ monday.csv tuesday.csv wednesday.csv --out newer/
    """
    # Threads that spin while they wait make training several times slower beside any busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # torch costs seconds: only who trains pays for it.
    import msgspec

    from model.checkpoint import load
    from model.config import parse_pairs, with_settings
    from model.continual import ContinualConfig, Way, course_table, finish, learn_days
    from model.engine import open_engine
    from model.export import save_calibration
    from model.net_shape import SERVED_NETS
    from stream_app.days import check_goes_on, check_settings, day_settings, read_days
    from stream_app.training import first_held_out_ms, held_out_scores

    texts = parse_pairs(pairs or [])
    mine = {key: texts.pop(key) for key in ContinualConfig.__struct_fields__ if key in texts}
    config = with_settings(ContinualConfig(), mine)
    check_settings(texts)
    saved = load(model)
    check_goes_on(saved, model)
    core, console = settings_of(context).core_config(), Console(stderr=True)
    choices = [FileChoice([day], preset, mapping or (), sort=True) for day in days]
    read = read_days(saved, choices, core, console)
    how = day_settings(saved, read, texts)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    ways: list[tuple[Way, ContinualConfig]] = [("replay", config)]
    if compare:
        ways.append(("plain", msgspec.structs.replace(config, replay_share=0.0, ewc=0.0)))
    done = [
        learn_days(saved, read.course, read.spec, read.items, how, held, way, out,
                   created_at=now, console=console)
        for way, held in ways
    ]  # fmt: skip
    finish(out, done)
    if saved.manifest.net.name in SERVED_NETS and read.spec.gap_edges_ms:
        from_ms = first_held_out_ms(read.course[-1].log, config.held_out)
        events = read_shown(choices[-1], console, "calibrating")
        save_calibration(out, held_out_scores(events, open_engine(out), core, from_ms))
    for measured in done:
        Console().print(course_table(measured))
    typer.echo(f"model {read.spec.name}-{load(out).manifest.fingerprint} in {out}")
