"""Train a model from a log of events: choose the number of epochs, fit, save.

A run that is killed goes on from its last saved state when the same call is made again, and ends
at the same weights as one that was left alone.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.console import Console

from model import baselines, checkpoint, resume
from model.baselines import Baselines
from model.capacity import check_fits, machine_bytes
from model.config import TrainConfig
from model.data import NONE, DataError, check_log, data_hash, targets_of
from model.fit import DivergedError
from model.foretelling import action_chain
from model.guide import NO_GUIDE, Guide
from model.heap import keep_freed_memory
from model.holdout import hold_out, hold_out_last
from model.log import EventLog
from model.phase import CHOOSE, FINAL, Exam, Phase, Watcher, best_epoch, run_phase
from model.questions import questions_of
from model.resume import Arrays, EpochRecord, Position
from model.spec import Floats, ModelSpec
from model.team import ALONE, Team
from model.training_log import TrainingLog

STATE_FILE = "train/state.safetensors"
SNAPSHOTS = "train/snapshots"


class TrainError(DataError):
    """There is nothing to learn; the message says what to change."""


def train(
    log: EventLog,
    spec: ModelSpec,
    items: Sequence[str],
    config: TrainConfig,
    out: Path,
    *,
    guide: Guide = NO_GUIDE,
    created_at: str = "",
    console: Console | None = None,
    clock: Callable[[], float] = time.perf_counter,
    on_batch: Callable[[Position], None] = lambda position: None,
    team: Team = ALONE,
) -> checkpoint.Manifest:
    """Train on ``log`` and write the model to the folder ``out``; returns its manifest.

    ``items`` is the vocabulary behind the log's item codes. ``guide`` is what the training has
    besides the log. ``console`` shows a progress bar; ``on_batch`` is told the position after each
    batch. All processes of a ``team`` make the same call; the leading one writes. Raises DataError
    (TrainError, CapacityError, TeamError, DivergedError) or ResumeError without writing a model.
    """
    check_trainable(log, spec, items, config)
    check_fits(spec, config, log.events, machine_bytes() // team.beside)
    team.check(config)
    keep_freed_memory()
    if config.epochs == 0 and (guide.weights is None or config.holds_out):
        raise TrainError(
            "epochs must be at least 1, got 0: a model to begin from alone could stay as it is, "
            "with nothing held out"
        )
    hashed = data_hash(log, items)
    identity = _identity(spec, config, hashed, guide)
    state = out / STATE_FILE
    found = team.told(lambda: resume.load(state, identity))

    made = _Made(log, spec, tuple(items), config, hashed, created_at)

    def keep(position: Position, arrays: Arrays) -> None:
        resume.save(state, identity, position, arrays)

    def snapshot(number: int, weights: dict[str, Floats]) -> None:
        made.save(out / SNAPSHOTS / str(number), weights, made.summary(()))

    step = found[0].step if found is not None else 0
    curves = out / "train" / "tensorboard" / identity[:12] if team.leads else None
    with (
        _threads(config.threads),
        TrainingLog(curves, console if team.leads else None, step) as shown,
    ):
        try:
            watcher = Watcher(shown, keep, clock, on_batch, snapshot)
            weights, history = _fit(log, spec, config, found, watcher, guide, team)
        except DivergedError:
            if team.leads:
                state.unlink(missing_ok=True)  # it would lead to the same end again
            raise

    def save() -> checkpoint.Manifest:
        manifest = made.save(out, weights, made.summary(history))
        state.unlink(missing_ok=True)
        return manifest

    return team.told(save)


@dataclass(frozen=True)
class _Made:
    """What all checkpoints of a run have in common."""

    log: EventLog
    spec: ModelSpec
    items: tuple[str, ...]
    config: TrainConfig
    data_hash: str
    created_at: str

    @cached_property
    def learned(self) -> EventLog:
        """What the weights have seen, and what is compared with them may see, too."""
        log, spec, config = self.log, self.spec, self.config
        return held_back(log, spec, config)[0] if config.is_probe else log

    @cached_property
    def beside(self) -> Baselines:
        return baselines.fit(self.learned, self.spec)

    def save(
        self, folder: Path, weights: dict[str, Floats], metrics: Mapping[str, Any]
    ) -> checkpoint.Manifest:
        baselines.save(folder, self.beside)
        return checkpoint.save(
            folder,
            self.spec,
            self.items,
            weights,
            net=self.config.net_shape,
            metrics=metrics,
            config=msgspec.to_builtins(self.config),
            data_hash=self.data_hash,
            created_at=self.created_at,
        )

    def summary(self, history: Sequence[EpochRecord]) -> dict[str, Any]:
        """The manifest's metrics."""
        chosen = [record for record in history if record.phase == CHOOSE]
        summary: dict[str, Any] = {
            "events": self.log.events,
            "sessions": self.log.sessions,
            "history": [msgspec.to_builtins(record) for record in history],
        }
        if chosen:
            best = chosen[best_epoch(history) - 1]
            summary["held_out"] = {"recall@20": best.recall_at_20, "mrr@20": best.mrr_at_20}
        if self.config.net == "encoder_decoder":
            summary["action_chain"] = action_chain(self.learned, self.spec)
        return summary


def check_trainable(
    log: EventLog, spec: ModelSpec, items: Sequence[str], config: TrainConfig
) -> None:
    """Raise TrainError where there is nothing to learn, DataError where the log is wrong."""
    check_log(log, spec, items)
    if log.events == 0:
        raise TrainError("the log holds no events; check the file and the mapping of its columns")
    if spec.item_count < 2:
        raise TrainError(
            "the log holds a single item, so there is nothing to rank; give a log with at least 2"
        )
    if not _has_pairs(log, spec):
        raise TrainError(
            "no item in the log ever follows another one, so there is no next item to learn; "
            "check the columns that name users and sessions, or give a longer log"
        )
    if config.holds_out:
        early, exam = held_back(log, spec, config)
        if not len(exam.questions.event) or not _has_pairs(early, spec):
            kept = "leave_one_out=false" if config.leave_one_out else "held_out=0"
            raise TrainError(
                "what is held out, or what is left to learn from, has no next item; "
                f"use --set {kept}, or give a longer log"
            )


def held_back(log: EventLog, spec: ModelSpec, config: TrainConfig) -> tuple[EventLog, Exam]:
    """The log without what the settings hold out, and the questions on that."""
    if config.leave_one_out:
        held = hold_out_last(log, spec)
        questions = questions_of(log, spec, "leave-one-out", held.late)
        return held.early, Exam(log, questions, filter_seen=True)
    held = hold_out(log, config.held_out)
    return held.early, Exam(log, questions_of(log, spec, "session", held.late))


def _has_pairs(log: EventLog, spec: ModelSpec) -> bool:
    return bool((targets_of(log, spec).item != NONE).any())


def _fit(
    log: EventLog,
    spec: ModelSpec,
    config: TrainConfig,
    found: tuple[Position, Arrays] | None,
    watcher: Watcher,
    guide: Guide,
    team: Team,
) -> tuple[dict[str, Floats], tuple[EpochRecord, ...]]:
    """Weights, and all epochs on the way to them, from wherever the run stands."""
    first = CHOOSE if config.holds_out else FINAL
    position, arrays = found if found is not None else (Position(first), {})
    epochs = config.epochs
    if position.phase == CHOOSE:
        early, exam = held_back(log, spec, config)
        phase = Phase(CHOOSE, early, config.epochs, exam)
        weights, position = run_phase(phase, spec, config, position, arrays, watcher, guide, team)
        if not config.refit:
            return weights, position.history
        position, arrays = Position(FINAL, step=position.step, history=position.history), {}
    if config.holds_out:
        epochs = best_epoch(position.history)
    weights, position = run_phase(
        Phase(FINAL, log, epochs), spec, config, position, arrays, watcher, guide, team
    )
    return weights, position.history


def _identity(spec: ModelSpec, config: TrainConfig, hashed: str, guide: Guide) -> str:
    """Names all that a run's course depends on."""
    course = msgspec.structs.replace(config, threads=1, save_every=1)
    content = msgspec.json.encode([spec, course, hashed, guide.name], order="sorted")
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
