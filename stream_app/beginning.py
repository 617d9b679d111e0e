"""What a training on the command line begins with: a log, settings, and an earlier model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from model.config import TrainConfig, with_settings
from model.content import content_of
from model.guide import NO_GUIDE, Guide
from model.presets import AUTO, PRESETS, preset_for
from model.transfer import TransferConfig
from stream_app.catalogue import read_catalogue
from stream_app.core.config import CoreConfig
from stream_app.files import PRESETS as FILE_PRESETS
from stream_app.invocation import UserError
from stream_app.prepare.config import TRAIN, VALIDATION
from stream_app.prepared import prepared_folder
from stream_app.reading import FileChoice, read_shown
from stream_app.recipe import Material, counted, split_settings
from stream_app.sequences import ShapeConfig, build_log, shape
from stream_app.transferring import begin_from, check_begun


class Named(NamedTuple):
    """What the command line names, checked before anything is read."""

    files: Sequence[Path]
    preset: str
    mapping: Sequence[str]
    begin: Path | None
    catalogue: Path | None
    shaping: Mapping[str, str]
    training: Mapping[str, str]
    transfer: Mapping[str, str]

    @classmethod
    def of(
        cls,
        files: Sequence[Path],
        preset: str,
        mapping: Sequence[str],
        begin: Path | None,
        catalogue: Path | None,
        texts: Mapping[str, str],
    ) -> "Named":
        """Raises UserError for what is unknown or does not go together."""
        if preset not in (AUTO, *PRESETS, *FILE_PRESETS):
            names = ", ".join([AUTO, *PRESETS, *FILE_PRESETS])
            raise UserError(f"--preset {preset} is unknown; choose one of {names}.")
        known = TransferConfig.__struct_fields__
        transfer = {key: text for key, text in texts.items() if key in known}
        others = {key: text for key, text in texts.items() if key not in known}
        shaping, training = split_settings(others)
        check_begun(begin, transfer, others)
        if catalogue is not None and begin is None:
            raise UserError("--catalogue adds items to a model; add --from MODEL.")
        return cls(files, preset, mapping, begin, catalogue, shaping, training, transfer)

    @property
    def file_preset(self) -> str | None:
        return self.preset if self.preset in FILE_PRESETS else None


class Beginning(NamedTuple):
    """Everything that a training has before its first step."""

    material: Material
    config: TrainConfig
    guide: Guide
    learned: FileChoice
    """The files of the log, which the calibration reads once more."""
    rejected: int


def read_beginning(named: Named, core: CoreConfig, console: Console) -> Beginning:
    """Read the files twice: to count what is in them, and as the model reads them."""
    folder = prepared_folder(named.files)
    learned = FileChoice(named.files, named.file_preset, named.mapping, sort=True)
    if folder is None:
        found = counted(learned, core, console)
    else:
        learned = folder.choice(TRAIN, VALIDATION)
        found = counted(folder.choice(TRAIN), core, console)
        found.made_up_times = folder.manifest.made_up_times
    spec, items = shape(found, with_settings(ShapeConfig(), named.shaping))
    listed = [] if named.catalogue is None else read_catalogue(named.catalogue)
    clicked = frozenset(items)
    items += tuple(item.item_id for item in listed if item.item_id not in clicked)
    earlier = None if named.begin is None else begin_from(named.begin, spec, items)
    if earlier is not None:
        spec, items = earlier.spec, earlier.items
    log = build_log(read_shown(learned, console, "reading"), spec, items, core)
    config = preset_for(AUTO if named.file_preset else named.preset, log, spec)
    if folder is not None:
        log = folder.without_cut_sessions(log)
        config = folder.held_out(config, log)
    material = Material(spec, items, log)
    config, guide = with_settings(config, named.training), NO_GUIDE
    if earlier is not None:
        config = earlier.settings(config)
        content = content_of(listed, items) if listed else None
        transfer = with_settings(TransferConfig(), named.transfer)
        guide = earlier.guide(log, config, transfer, content)
    return Beginning(material, config, guide, learned, found.rejected)
