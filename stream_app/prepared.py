"""A prepared folder as training and evaluation read it: its parts kept apart."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from model.config import TrainConfig
from model.data import stretch_of
from model.holdout import share_of, with_events
from model.log import EventLog
from model.questions import Protocol
from model.spec import ModelSpec
from stream_app.invocation import UserError
from stream_app.prepare.config import SplitKind
from stream_app.prepare.manifest import EVENTS_FOLDER, Manifest, read_manifest
from stream_app.reading import FileChoice

Mask = npt.NDArray[np.bool_]


class PreparedFolder(msgspec.Struct, frozen=True):
    """A folder that ``clickahead prepare`` has filled."""

    path: Path
    manifest: Manifest

    @property
    def protocol(self) -> Protocol:
        """What is asked of the test part."""
        by_user = self.manifest.cuts.kind is SplitKind.leave_one_out
        return "leave-one-out" if by_user else "session"

    def choice(self, *splits: str) -> FileChoice:
        """The files of some parts, in the order of days and of ``splits``."""
        days = sorted((self.path / EVENTS_FOLDER).iterdir())
        files = [
            file
            for day in days
            for split in splits
            for file in sorted((day / f"split={split}").glob("*.parquet"))
        ]
        if not files:
            raise UserError(f"{self.path} has no events in {' or '.join(splits)}; prepare it anew.")
        return FileChoice(files, sort=True)

    def without_cut_sessions(self, log: EventLog) -> EventLog:
        """Training and validation without what validation has of sessions that began in training:
        such sessions are told apart by their begin, and it would be trained on."""
        validation_ms = self.manifest.cuts.validation_ms
        if validation_ms is None:
            return log
        begins = log.at_ms[log.session_start[:-1]]  # [S]
        session = stretch_of(log.session_start, log.events)
        late = log.at_ms >= validation_ms
        return with_events(log, ~(late & (begins[session] < validation_ms)))

    def held_out(self, config: TrainConfig, log: EventLog) -> TrainConfig:
        """The settings, with the validation part held out of ``log``, and never trained on."""
        validation_ms = self.manifest.cuts.validation_ms
        if validation_ms is None:
            return msgspec.structs.replace(config, held_out=0, leave_one_out=True, refit=False)
        begins = log.at_ms[log.session_start[:-1]]  # [S]
        count = int((begins >= validation_ms).sum())
        share = min(0.99, share_of(count, max(1, log.sessions)))
        return msgspec.structs.replace(config, held_out=share, leave_one_out=False, refit=False)

    def test_events(self, log: EventLog, spec: ModelSpec) -> Mask:
        """Which events of the whole log are the test part, [N]."""
        if self.manifest.cuts.test_ms is not None:
            return log.at_ms >= self.manifest.cuts.test_ms
        bounds = log.session_start[log.user_start]
        user = stretch_of(bounds, log.events)
        bearing = log.item < spec.no_item
        # As in the split: users with fewer than three such events stay whole.
        asked: Mask = np.bincount(user[bearing], minlength=len(bounds) - 1)[user] >= 3
        return asked


def prepared_folder(paths: Sequence[Path]) -> PreparedFolder | None:
    """The one folder among ``paths`` as a prepared one; None where they are files. Raises
    UserError for a folder that is none, or is not finished, and PrepareError for a foreign one."""
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        return None
    if len(paths) > 1:
        raise UserError(f"{folders[0]} is a folder; name click files, or one prepared folder.")
    manifest = read_manifest(folders[0])
    if manifest is None:
        raise UserError(
            f"{folders[0]} is no prepared folder, or is not finished; run clickahead prepare"
            f" FILES... --out {folders[0]} (again)."
        )
    return PreparedFolder(folders[0], manifest)
