"""The model that has not seen a part of its training log, and what is learned from that part."""

from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from model import checkpoint
from model.action_contest import fit_leans
from model.action_rivals import Rivals
from model.architectures import net_of
from model.checkpoint import Checkpoint
from model.config import TrainConfig
from model.data import data_hash
from model.evaluate import EvaluationError
from model.holdout import hold_out
from model.log import EventLog
from model.phase import Exam
from model.questions import heads_asked
from model.scoring import NetRecommender
from model.spec import ModelSpec
from model.train import train

# Share of the newest sessions that is held out where the model has seen everything.
HELD_OUT = 0.1


def probe_of(
    directory: Path, log: EventLog, saved: Checkpoint, console: Console | None
) -> tuple[NetRecommender, TrainConfig]:
    """The model's sibling that has not seen a part of the training log, or the model itself where
    it has not, and its settings."""
    own = msgspec.convert(saved.manifest.config, TrainConfig)
    if own.is_probe:
        return NetRecommender(net_of(saved), saved.spec), own
    chosen = directory / checkpoint.CHOSEN
    if (chosen / checkpoint.MANIFEST_FILE).exists():
        sibling = checkpoint.load(chosen)
        theirs = (sibling.spec, sibling.manifest.data_hash)
        if theirs == (saved.spec, saved.manifest.data_hash):
            settings = msgspec.convert(sibling.manifest.config, TrainConfig)
            return NetRecommender(net_of(sibling), sibling.spec), settings
    settings = msgspec.structs.replace(
        own,
        held_out=own.held_out if own.holds_out else HELD_OUT,
        # Snapshots allow no early end.
        patience=0 if own.snapshots else own.patience,
        refit=False,
    )
    train(log, saved.spec, saved.items, settings, chosen, console=console)
    return NetRecommender(net_of(checkpoint.load(chosen)), saved.spec), settings


def probe_leans(
    probe: NetRecommender, rivals: Rivals, exam: Exam, spec: ModelSpec, settings: TrainConfig
) -> dict[str, float]:
    """Leans from ``exam``, what the settings hold out of a training log; ``rivals`` have learned
    the rest."""
    asked = np.zeros(exam.log.events, bool)
    if settings.leave_one_out:
        asked[heads_asked(exam.log, exam.questions, "leave-one-out")] = True
    else:
        asked |= hold_out(exam.log, settings.held_out).late
    return fit_leans(probe.net, rivals, exam.log, asked, spec)


def checked_hash(train_log: EventLog, saved: Checkpoint) -> str:
    """The log's hash; raises EvaluationError where it is not what the model was trained on."""
    hashed = data_hash(train_log, saved.items)
    if hashed != saved.manifest.data_hash:
        raise EvaluationError(
            "the files given with --train are not those that the model was trained on; the "
            "comparison needs the very same ones"
        )
    return hashed
