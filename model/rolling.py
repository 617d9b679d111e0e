"""Rolling validation: a recipe is judged on several stretches of time, each after what it learned.

One held-out tail is one week's luck. Here the newest sessions are cut into folds of equal size;
for each of them a model is trained on everything before it and asked about it (Hyndman &
Athanasopoulos, "Forecasting: principles and practice", 2021, on evaluation with a rolling origin).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from model import checkpoint
from model.config import ConfigError, TrainConfig
from model.data import data_hash
from model.holdout import hold_out, share_of
from model.log import EventLog
from model.phase import best_epoch
from model.resume import EpochRecord, Position
from model.spec import ModelSpec
from model.train import train


class Fold(msgspec.Struct, frozen=True):
    """One stretch of time, and how well it was foretold from what came before."""

    begin_ms: int
    end_ms: int
    learned_events: int
    best_epoch: int
    recall_at_20: float
    mrr_at_20: float


def rolling(
    log: EventLog,
    spec: ModelSpec,
    items: Sequence[str],
    config: TrainConfig,
    folds: int,
    share: float,
    out: Path,
    *,
    console: Console | None = None,
    on_batch: Callable[[Position], None] = lambda position: None,
) -> tuple[Fold, ...]:
    """Train and measure on ``folds`` stretches of the ``share`` of the sessions each, the oldest
    first, each in a folder of ``out``; a killed validation goes on where it stopped.

    The vocabulary is the log's, so items that come later are known by name and never seen.
    Raises ConfigError, and what ``train`` raises.
    """
    check_folds(folds, share)
    size = int(share * log.sessions)  # of a fold, in sessions
    if size == 0:
        raise ConfigError(
            f"{share:g} of {log.sessions} sessions is less than one; give a larger share or a "
            "longer log"
        )
    found = []
    for number in range(folds):
        part = hold_out(log, share_of(size * (folds - 1 - number), log.sessions)).early
        settings = msgspec.structs.replace(
            config, held_out=share_of(size, part.sessions), leave_one_out=False, refit=False
        )
        folder = out / f"fold-{number + 1:03}"
        manifest = _finished(folder, spec, data_hash(part, items), settings)
        if manifest is None:
            manifest = train(
                part, spec, items, settings, folder, console=console, on_batch=on_batch
            )
        found.append(_fold(part, settings.held_out, manifest))
    return tuple(found)


def check_folds(folds: int, share: float) -> None:
    """Raise ConfigError unless a log that is cut into so many folds has something left."""
    if folds < 1 or not share > 0 or folds * share >= 1:
        raise ConfigError(
            f"{folds} folds of {share:g} of the sessions each leave nothing to learn from; their "
            "product must be above 0 and below 1"
        )


def _finished(
    folder: Path, spec: ModelSpec, hashed: str, settings: TrainConfig
) -> checkpoint.Manifest | None:
    """The manifest of a fold that an earlier call has trained in just this way."""
    if not (folder / checkpoint.MANIFEST_FILE).exists():
        return None
    found = checkpoint.load(folder).manifest
    wanted = (spec, hashed, msgspec.to_builtins(settings))
    return found if (found.spec, found.data_hash, found.config) == wanted else None


def _fold(part: EventLog, share: float, manifest: checkpoint.Manifest) -> Fold:
    late = hold_out(part, share).late
    history = msgspec.convert(manifest.metrics["history"], tuple[EpochRecord, ...])
    measured = manifest.metrics["held_out"]
    return Fold(
        begin_ms=int(part.at_ms[late].min()),
        end_ms=int(part.at_ms[late].max()),
        learned_events=int((~late).sum()),
        best_epoch=best_epoch(history),
        recall_at_20=measured["recall@20"],
        mrr_at_20=measured["mrr@20"],
    )


def table(folds: Sequence[Fold]) -> Table:
    """All folds for a terminal, and mean and spread at the end."""
    shown = Table(title="rolling validation")
    for heading in ("from", "to", "learned events", "best epoch", "recall@20", "mrr@20"):
        shown.add_column(heading, justify="right")
    for fold in folds:
        begin, end = (
            str(np.datetime64(at_ms, "ms"))[:16] for at_ms in (fold.begin_ms, fold.end_ms)
        )
        shown.add_row(begin, end, f"{fold.learned_events:,}", str(fold.best_epoch),
                      f"{fold.recall_at_20:.4f}", f"{fold.mrr_at_20:.4f}")  # fmt: skip
    texts = []
    for name in ("recall_at_20", "mrr_at_20"):
        values = [getattr(fold, name) for fold in folds]
        texts.append(f"{np.mean(values):.4f} ± {np.std(values):.4f}")
    shown.add_section()
    shown.add_row("mean ± spread", "", "", "", *texts)
    return shown
