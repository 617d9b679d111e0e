"""Days of clicks for a model that goes on learning, coded by one vocabulary that grows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console

from model.checkpoint import Checkpoint
from model.config import TrainConfig, with_settings
from model.continual import Day
from model.presets import AUTO, preset_for
from model.spec import ModelSpec
from model.transfer import extended_spec
from stream_app.core.config import CoreConfig
from stream_app.invocation import UserError
from stream_app.reading import FileChoice, read_shown
from stream_app.recipe import counted
from stream_app.sequences import ShapeConfig, build_log, shape

_OF_THE_MODEL = frozenset({"net", "layers", "heads", "horizon", "churn_days", "promotions"})
_OF_THE_DAYS = frozenset({"leave_one_out", "refit"})


class Days(NamedTuple):
    """Spec and items with what all days add, and the days, oldest first."""

    spec: ModelSpec
    items: tuple[str, ...]
    course: list[Day]


def check_settings(texts: Mapping[str, str]) -> None:
    """Raise UserError for training settings that a model which goes on cannot change."""
    if wrong := sorted(texts.keys() & (_OF_THE_MODEL | _OF_THE_DAYS)):
        raise UserError(f"{wrong[0]} is not for continuing a model; leave it out of --set.")


def check_goes_on(saved: Checkpoint, folder: Path) -> None:
    """Raise UserError for a model that cannot learn from days."""
    if tasks := saved.manifest.net.tasks:
        raise UserError(
            f"{folder} has heads for {', '.join(tasks)}, which learn from whole users and not from"
            " days; use clickahead train ALL-DAYS --from MODEL."
        )


def read_days(
    saved: Checkpoint, choices: Sequence[FileChoice], core: CoreConfig, console: Console
) -> Days:
    """Read each day twice: to count what is new in it, and as the grown model reads it."""
    spec, items, counts = saved.spec, tuple(saved.items), []
    for choice in choices:
        manifest = msgspec.structs.replace(saved.manifest, spec=spec)
        day_spec, day_items = shape(counted(choice, core, console), ShapeConfig())
        spec, items = extended_spec(Checkpoint(manifest, items, {}), day_spec, day_items)
        counts.append(len(items))
    course = [
        Day(
            choice.files[0].name,
            build_log(read_shown(choice, console, "reading"), spec, items, core),
            count,
        )
        for choice, count in zip(choices, counts, strict=True)
    ]
    return Days(spec, items, course)


def day_settings(saved: Checkpoint, days: Days, texts: Mapping[str, str]) -> TrainConfig:
    """How a day is learned: short and with a small rate, since the model knows most already."""
    net = saved.manifest.net
    short = msgspec.structs.replace(
        preset_for(AUTO, days.course[-1].log, days.spec),
        net=net.name, layers=net.layers, heads=net.heads, horizon=net.horizon,
        held_out=0.0, leave_one_out=False, epochs=3, learning_rate=1e-3,
    )  # fmt: skip
    return with_settings(short, texts)
