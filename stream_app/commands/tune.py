"""``clickahead tune``: training settings that suit a log, found by trying."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from stream_app.invocation import UserError, settings_of
from stream_app.reading import FileChoice, MappingOption, PresetOption


class Pruner(StrEnum):
    median = "median"
    halving = "halving"
    none = "none"


def command(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Click files to train on.")],
    out: Annotated[Path, typer.Option(help="Folder of the search; a killed one goes on in it.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials in all.")] = 30,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes of trials in all; without it no limit.")
    ] = None,
    pruner: Annotated[
        Pruner,
        typer.Option(help="What stops trials early: worse than the median, successive halving."),
    ] = Pruner.median,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting that is not searched; repeat."),
    ] = None,
    preset: PresetOption = None,
    mapping: MappingOption = None,
) -> None:
    """Search for the settings that predict a held-out tail of the files best.

    What is searched depends on the data's size; the first trial has the preset's settings. Test
    files have no business here. OUT gets best.toml, importance.json, importance.png and study.db.

    Example: clickahead tune clicks.parquet --out search --trials 40 --minutes 60

    Then: clickahead train clicks.parquet --settings search/best.toml --out model
    """
    # Threads that spin while they wait make training several times slower beside any busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # torch costs seconds: only who trains pays for it.
    import msgspec

    from model.checkpoint import write_atomically
    from model.config import parse_pairs, with_settings
    from model.importance import draw_importance, outcome_table
    from model.presets import AUTO, preset_for, traits_of
    from model.settings_file import write_settings
    from model.tune import Budget, space_of, tune
    from stream_app.recipe import read_material, split_settings
    from stream_app.sequences import ShapeConfig

    of_shape, texts = split_settings(parse_pairs(pairs or []))
    fixed = {*of_shape, *texts}
    core, console = settings_of(context).core_config(), Console(stderr=True)
    choice = FileChoice(files, preset, mapping or (), sort=True)
    shaped = with_settings(ShapeConfig(), of_shape)
    spec, items, log = read_material(choice, shaped, core, console)
    base = with_settings(preset_for(AUTO, log, spec), texts)
    space = space_of(traits_of(log, spec), spec, base)
    space = {name: found for name, found in space.items() if name not in fixed}
    if not space:
        raise UserError("everything that is searched is fixed with --set; leave something free.")
    budget = Budget(trials, float("inf") if minutes is None else minutes * 60)
    with _trials_shown(console, trials) as told:
        outcome = tune(
            log, spec, items, base, space, budget, out, pruner=pruner.value, told=told,
        )  # fmt: skip
    chosen = {key: getattr(shaped if key in of_shape else base, key) for key in sorted(fixed)}
    said = {key: value for key, value in chosen.items() if value is not None}
    settings = {**said, **outcome.settings, "epochs": outcome.epochs}
    note = f"held out MRR@20 {outcome.mrr_at_20:.4f} after {outcome.finished} trials"
    write_settings(out / "best.toml", settings, note)
    text = msgspec.json.format(msgspec.json.encode(outcome), indent=2)
    write_atomically(out / "importance.json", text + b"\n")
    if outcome.importance:
        draw_importance(outcome.importance, out / "importance.png")
    Console().print(outcome_table(outcome))
    typer.echo(f"clickahead train ... --settings {out / 'best.toml'}")


@contextmanager
def _trials_shown(console: Console, trials: int) -> Iterator[Callable[[int, float], None]]:
    """A bar over the trials; what it gives is told how many are done, and the best MRR@20."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("best MRR@20 {task.fields[best]:.4f}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("trials", total=trials, best=0.0)
        yield lambda done, best: bar.update(task, completed=done, best=best)
