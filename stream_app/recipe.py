"""Click files and settings as every training on the command line begins with them."""

from collections.abc import Mapping
from typing import NamedTuple

from rich.console import Console

from model.config import TrainConfig
from model.log import EventLog
from model.spec import ModelSpec
from stream_app.core.config import CoreConfig
from stream_app.invocation import UserError
from stream_app.profile import LogProfile, profile
from stream_app.reading import FileChoice, read_shown
from stream_app.sequences import ShapeConfig, build_log, cleaned, shape


class Material(NamedTuple):
    """A log, and the spec and the vocabulary that it is coded by."""

    spec: ModelSpec
    items: tuple[str, ...]
    log: EventLog


def split_settings(texts: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Those of a ``ShapeConfig`` and those of a ``TrainConfig``; UserError for any other."""
    of_shape, of_training = ShapeConfig.__struct_fields__, TrainConfig.__struct_fields__
    known = sorted({*of_shape, *of_training})
    if unknown := sorted(texts.keys() - set(known)):
        raise UserError(f"--set {unknown[0]} is unknown; choose from {', '.join(known)}.")
    shaping = {key: text for key, text in texts.items() if key in of_shape}
    return shaping, {key: text for key, text in texts.items() if key not in of_shape}


def counted(choice: FileChoice, core: CoreConfig, console: Console) -> LogProfile:
    """What is in the files, of which nothing is kept."""
    return profile(cleaned(read_shown(choice, console, "counting"), core))


def read_material(
    choice: FileChoice, config: ShapeConfig, core: CoreConfig, console: Console
) -> Material:
    """Read files twice: to count what is in them, and as the model reads them."""
    spec, items = shape(counted(choice, core, console), config)
    return Material(
        spec, items, build_log(read_shown(choice, console, "reading"), spec, items, core)
    )
