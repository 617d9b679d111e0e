"""A phase of training: epochs over one log, measured and stopped early where a tail is given."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec
import numpy as np

from model.config import TrainConfig
from model.fit import Fitting
from model.guide import NO_GUIDE, Guide
from model.log import EventLog
from model.nets import SequenceNet
from model.questions import Questions
from model.ranking import metrics_of
from model.resume import Arrays, EpochRecord, Position
from model.scoring import answer
from model.spec import Floats, ModelSpec
from model.team import ALONE, Team
from model.training_log import TrainingLog

CHOOSE, FINAL = "choose", "final"


class Exam(msgspec.Struct, frozen=True):
    """What to measure on: questions on a log, and whether seen items leave the rankings."""

    log: EventLog
    questions: Questions
    filter_seen: bool = False


class Phase(msgspec.Struct, frozen=True):
    """What to fit, for how many epochs at most, and what to measure on."""

    name: str
    log: EventLog
    epochs: int
    exam: Exam | None = None


class Watcher(msgspec.Struct, frozen=True):
    """Who is told of a run's progress: a person, the disk, a clock's owner, the caller."""

    shown: TrainingLog
    keep: Callable[[Position, Arrays], None]
    clock: Callable[[], float]
    on_batch: Callable[[Position], None]
    # Keeps the weights of a cycle's end, by the cycle's number.
    snapshot: Callable[[int, dict[str, Floats]], None] = lambda number, weights: None


def run_phase(
    phase: Phase,
    spec: ModelSpec,
    config: TrainConfig,
    position: Position,
    arrays: Arrays,
    watcher: Watcher,
    guide: Guide = NO_GUIDE,
    team: Team = ALONE,
) -> tuple[dict[str, Floats], Position]:
    """Fit from ``position`` (with the state ``arrays``; empty at a phase's begin) to the end.

    Returns the last epoch's weights, or the best one's where the phase is measured.
    """
    fitting = Fitting(phase.log, spec, config, phase.epochs, guide, team)
    best = {name.removeprefix("best."): a for name, a in arrays.items() if name.startswith("best.")}
    if arrays:
        fitting.restore(arrays)

    def save() -> None:
        if team.leads:
            bests = {f"best.{name}": array for name, array in best.items()}
            watcher.keep(position, fitting.state() | bests)

    while position.epoch < phase.epochs and not _stale(phase.name, position.history, config):
        for reached in _epoch(fitting, phase, position, watcher):
            position = reached
            if position.step % config.save_every == 0:
                save()
            watcher.on_batch(position)
        choosing = config.patience > 0
        record = team.told(partial(_record, phase, fitting.measured(), spec, position, choosing))
        history = (*position.history, record)
        position = Position(phase.name, position.epoch + 1, step=position.step, history=history)
        if record.mrr_at_20 is not None and best_epoch(history) == record.epoch:
            best = fitting.measured().weights()
        if team.leads and config.snapshots and _ends_cycle(position.epoch, phase, config):
            number = position.epoch * config.snapshots // phase.epochs
            watcher.snapshot(number, fitting.measured().weights())
        watcher.shown.epoch(record, position.step)
        save()
    return best or fitting.measured().weights(), position


def _epoch(
    fitting: Fitting, phase: Phase, position: Position, watcher: Watcher
) -> Iterator[Position]:
    """Train on the rest of an epoch, giving the position after each batch."""
    batches = fitting.batches(position.epoch)
    started, seconds_before = watcher.clock(), position.seconds
    for number in range(position.batch, len(batches)):
        loss = fitting.step(position.epoch, number, len(batches), batches[number])
        position = msgspec.structs.replace(
            position,
            batch=number + 1,
            step=position.step + 1,
            item_loss_sum=position.item_loss_sum + loss.item_sum.item(),
            item_count=position.item_count + loss.item_count,
            events=position.events + loss.events,
            seconds=seconds_before + watcher.clock() - started,
        )
        done = position.epoch + (number + 1) / len(batches)
        watcher.shown.batch(phase.name, done, phase.epochs, position)
        watcher.shown.curve(
            phase.name,
            position.step,
            item_loss=loss.item_sum.item() / max(loss.item_count, 1),
            heads_loss=loss.heads.item(),
            learning_rate=fitting.rate,
        )
        yield position


def _record(
    phase: Phase, net: SequenceNet, spec: ModelSpec, position: Position, choosing: bool
) -> EpochRecord:
    recall, mrr = None, None
    if phase.exam is not None and (choosing or position.epoch + 1 == phase.epochs):
        exam, nothing = phase.exam, np.zeros(0, np.int64)
        found = answer(net, exam.log, spec, exam.questions, nothing, filter_seen=exam.filter_seen)
        metrics = metrics_of(found.ranks)
        recall, mrr = metrics["recall@20"], metrics["mrr@20"]
    return EpochRecord(
        phase=phase.name,
        epoch=position.epoch + 1,
        item_loss=position.mean_loss,
        seconds=position.seconds,
        events_per_second=position.events_per_second,
        recall_at_20=recall,
        mrr_at_20=mrr,
    )


def best_epoch(history: Sequence[EpochRecord]) -> int:
    """The number, from 1, of the measured epoch with the highest MRR@20, the earliest of equals."""
    measured = [record for record in history if record.mrr_at_20 is not None]
    return max(measured, key=lambda record: (record.mrr_at_20, -record.epoch)).epoch


def _ends_cycle(epoch: int, phase: Phase, config: TrainConfig) -> bool:
    return epoch * config.snapshots % phase.epochs == 0


def _stale(phase: str, history: Sequence[EpochRecord], config: TrainConfig) -> bool:
    if phase != CHOOSE or not history or config.patience == 0:
        return False
    return history[-1].epoch - best_epoch(history) >= config.patience
