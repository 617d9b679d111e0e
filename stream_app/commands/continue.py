"""``clickahead continue``: a model that goes on learning, day by day."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_app.invocation import UserError, settings_of
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

    from model.checkpoint import Checkpoint, load
    from model.config import TrainConfig, parse_pairs, with_settings
    from model.continual import ContinualConfig, Day, course_table, finish, learn_days
    from model.engine import open_engine
    from model.export import save_calibration
    from model.holdout import hold_out
    from model.net_shape import SERVED_NETS
    from model.presets import AUTO, preset_for
    from model.transfer import extended_spec
    from stream_app.profile import profile
    from stream_app.sequences import ShapeConfig, build_log, cleaned, shape
    from stream_app.training import held_out_scores

    texts = parse_pairs(pairs or [])
    mine = {key: texts.pop(key) for key in ContinualConfig.__struct_fields__ if key in texts}
    config: ContinualConfig = with_settings(ContinualConfig(), mine)
    of_the_model = {"net", "layers", "heads", "horizon", "churn_days", "promotions"}
    if wrong := sorted(texts.keys() & (of_the_model | {"leave_one_out", "refit"})):
        raise UserError(f"{wrong[0]} is not for continuing a model; leave it out of --set.")
    saved = load(model)
    if saved.manifest.net.tasks:
        raise UserError(
            f"{model} has heads for {', '.join(saved.manifest.net.tasks)}, which learn from whole"
            " users and not from days; use clickahead train ALL-DAYS --from MODEL."
        )
    core, console = settings_of(context).core_config(), Console(stderr=True)
    choices = [FileChoice([day], preset, mapping or (), sort=True) for day in days]

    spec, items, counts = saved.spec, saved.items, []
    for choice in choices:
        found = profile(cleaned(read_shown(choice, console, "counting"), core))
        manifest = msgspec.structs.replace(saved.manifest, spec=spec)
        day_spec, day_items = shape(found, ShapeConfig())
        spec, items = extended_spec(Checkpoint(manifest, items, {}), day_spec, day_items)
        counts.append(len(items))
    course = [
        Day(path.name, build_log(read_shown(choice, console, "reading"), spec, items, core), count)
        for path, choice, count in zip(days, choices, counts, strict=True)
    ]
    net = saved.manifest.net
    recipe = preset_for(AUTO, course[-1].log, spec)
    short = msgspec.structs.replace(
        recipe, net=net.name, layers=net.layers, heads=net.heads, horizon=net.horizon,
        held_out=0.0, leave_one_out=False, epochs=3, learning_rate=1e-3,
    )  # fmt: skip
    train_config: TrainConfig = with_settings(short, texts)
    plain = msgspec.structs.replace(config, replay_share=0.0, ewc=0.0)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    done = [
        learn_days(saved, course, spec, items, train_config, config, "replay", out,
                   created_at=now, console=console)
    ]  # fmt: skip
    if compare:
        done.append(
            learn_days(saved, course, spec, items, train_config, plain, "plain", out,
                       created_at=now, console=console)
        )  # fmt: skip
    finish(out, done)
    if net.name in SERVED_NETS and spec.gap_edges_ms:
        late = hold_out(course[-1].log, config.held_out).late
        from_ms = int(course[-1].log.at_ms[late].min())
        events = read_shown(choices[-1], console, "calibrating")
        save_calibration(out, held_out_scores(events, open_engine(out), core, from_ms))
    for measured in done:
        Console().print(course_table(measured))
    typer.echo(f"model {spec.name}-{load(out).manifest.fingerprint} in {out}")
