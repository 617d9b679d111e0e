"""Search for training settings with Optuna, judged on a held-out tail of the training log alone.

The study lives in SQLite and each trial's training can be taken up, so a killed search goes on
where it stopped and ends as one that was left alone: the sampler's seed is a function of how many
trials are done.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console

from model.config import TrainConfig
from model.data import DataError, data_hash
from model.log import EventLog
from model.presets import SMALL_TARGETS, LogTraits
from model.resume import Position
from model.spec import ModelSpec
from model.train import train

Value = str | int | float | bool
Space = Mapping[str, BaseDistribution]
PrunerName = Literal["median", "halving", "none"]

STUDY_FILE = "study.db"
HELD_OUT = 0.1
# Below this many targets an epoch takes seconds, and a narrow net is enough.
_TINY_TARGETS = 20_000


class TuneError(ValueError):
    """A folder that holds another study, or a search that found nothing."""

    exit_code: ClassVar[int] = 2


class Budget(msgspec.Struct, frozen=True):
    """When to stop: after so many trials, or when so many seconds of trials are spent."""

    trials: int = 30
    seconds: float = float("inf")


class Outcome(msgspec.Struct, frozen=True):
    """What a search found."""

    settings: dict[str, Value]  # of the best trial
    mrr_at_20: float  # of its best epoch, on what is held out
    epochs: int  # that it took
    importance: dict[str, float]  # share of the variance; empty while too few trials are done
    finished: int
    pruned: int
    first: float  # the value of the first trial, which has the preset's own settings


def space_of(traits: LogTraits, spec: ModelSpec, base: TrainConfig) -> dict[str, BaseDistribution]:
    """What is searched, by the data's size: wide nets and large batches where there is much of it.

    Every range holds what ``base`` and ``spec`` say.
    """
    widths: tuple[int, ...]
    if traits.item_targets < _TINY_TARGETS:
        widths, batches = (16, 32, 64), (8, 16, 32)
    elif traits.item_targets < SMALL_TARGETS:
        widths, batches = (32, 64, 128), (16, 32, 64)
    else:
        widths, batches = (64, 128, 192), (64, 128, 256)
    if base.net == "transformer":
        even = 2 * base.heads
        widths = tuple(width - width % even for width in widths)
    rate = base.learning_rate
    space: dict[str, BaseDistribution] = {
        "hidden_width": _choice(widths, spec.hidden_width),
        "batch_sequences": _choice(batches, base.batch_sequences),
        "learning_rate": FloatDistribution(min(5e-4, rate), max(1e-2, rate), log=True),
        "input_dropout": FloatDistribution(0.0, max(0.5, base.input_dropout)),
        "hidden_dropout": FloatDistribution(0.0, max(0.5, base.hidden_dropout)),
        "label_smoothing": FloatDistribution(0.0, max(0.2, base.label_smoothing)),
        "weight_decay": FloatDistribution(0.0, max(0.1, base.weight_decay)),
    }
    if base.net == "transformer":
        space["layers"] = IntDistribution(1, max(3, base.layers))
    return space


def tune(
    log: EventLog,
    spec: ModelSpec,
    items: tuple[str, ...],
    base: TrainConfig,
    space: Space,
    budget: Budget,
    out: Path,
    *,
    pruner: PrunerName = "median",
    console: Console | None = None,
    clock: Callable[[], float] = time.perf_counter,
    on_batch: Callable[[Position], None] = lambda position: None,
    told: Callable[[int, float], None] = lambda finished, best: None,
) -> Outcome:
    """Search around ``base`` within a budget, all trials of the folder ``out`` together.

    The first trial has ``base``'s own settings. ``told`` hears of the number of finished trials
    and the best value after each. Raises TuneError, and what ``train`` raises on a bad log.
    """
    base = _judged(base)
    study = _study(out, _name_of(log, spec, items, base, space, pruner), pruner)
    _take_up(study, base, spec, space)
    while len(_finished(study)) < budget.trials and _spent(study) < budget.seconds:
        study.sampler = optuna.samplers.TPESampler(seed=base.seed + len(_finished(study)))
        trial = study.ask(dict(space))
        folder = out / "trials" / _digest(trial.params)
        started = clock()
        deadline = started + budget.seconds - _spent(study)
        watch = _Watch(trial, deadline if _best(study) is not None else float("inf"), clock)
        value: float | None = None
        try:
            value = _run(log, spec, items, base, trial, folder, console, watch, on_batch)
            state = TrialState.COMPLETE
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except DataError as error:
            if not _finished(study):
                raise
            trial.set_user_attr("failed", str(error))
            state = TrialState.PRUNED
        trial.set_user_attr("seconds", clock() - started)
        study.tell(trial, value, state=state)
        shutil.rmtree(folder, ignore_errors=True)
        best = _best(study)
        told(len(_finished(study)), float("nan") if best is None else float(best.value or 0.0))
    return _outcome(study)


class _Watch:
    """Tells Optuna of each epoch, and stops what it gives no hope or what the time is over for."""

    def __init__(self, trial: Trial, deadline: float, clock: Callable[[], float]) -> None:
        self.trial, self.deadline, self.clock, self.reported = trial, deadline, clock, 0

    def look(self, position: Position) -> None:
        for record in position.history[self.reported :]:
            if record.mrr_at_20 is not None:
                self.trial.report(record.mrr_at_20, record.epoch)
                if self.trial.should_prune():
                    raise optuna.TrialPruned
        self.reported = len(position.history)
        if self.clock() > self.deadline:
            raise optuna.TrialPruned


def _run(
    log: EventLog,
    spec: ModelSpec,
    items: tuple[str, ...],
    base: TrainConfig,
    trial: Trial,
    folder: Path,
    console: Console | None,
    watch: _Watch,
    on_batch: Callable[[Position], None],
) -> float:
    """Train with a trial's settings; its best MRR@20 on what is held out."""
    changes = dict(trial.params)
    width = changes.pop("hidden_width", spec.hidden_width)
    tried = msgspec.structs.replace(spec, hidden_width=width)

    def look(position: Position) -> None:
        on_batch(position)
        watch.look(position)

    config = msgspec.structs.replace(base, **changes)
    manifest = train(log, tried, items, config, folder, console=console, on_batch=look)
    held = [record["mrr_at_20"] for record in manifest.metrics["history"]]
    trial.set_user_attr("epochs", 1 + held.index(max(held)))
    return float(max(held))


def _judged(base: TrainConfig) -> TrainConfig:
    """The settings with every epoch measured on a held-out tail, and nothing trained afterwards."""
    share = base.held_out if base.holds_out else HELD_OUT
    patience = max(1, base.patience)
    return msgspec.structs.replace(base, held_out=share, patience=patience, refit=False)


def _study(out: Path, name: str, pruner: PrunerName) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{out / STUDY_FILE}"
    if others := [found for found in optuna.get_all_study_names(storage) if found != name]:
        raise TuneError(
            f"{out / STUDY_FILE} holds a search on other data or around other settings "
            f"({', '.join(others)}); repeat that command to go on with it, or give another --out"
        )
    pruners: dict[PrunerName, optuna.pruners.BasePruner] = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        "halving": optuna.pruners.SuccessiveHalvingPruner(),
        "none": optuna.pruners.NopPruner(),
    }
    return optuna.create_study(
        study_name=name,
        storage=storage,
        direction="maximize",
        pruner=pruners[pruner],
        load_if_exists=True,
    )


def _take_up(study: optuna.Study, base: TrainConfig, spec: ModelSpec, space: Space) -> None:
    """Put what a kill has left under way in front; begin with the preset's own settings."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    if not study.get_trials():
        own = {**msgspec.structs.asdict(base), "hidden_width": spec.hidden_width}
        study.enqueue_trial({name: own[name] for name in space})


def _outcome(study: optuna.Study) -> Outcome:
    best = _best(study)
    if best is None:
        raise TuneError("no trial was finished; give more --minutes or a smaller log")
    finished = _finished(study)
    complete = [trial for trial in finished if trial.state is TrialState.COMPLETE]
    first = complete[0].value
    return Outcome(
        settings=dict(best.params),
        mrr_at_20=float(best.value or 0.0),
        epochs=int(best.user_attrs["epochs"]),
        importance=_importance(study, complete),
        finished=len(finished),
        pruned=len(finished) - len(complete),
        first=float(first or 0.0),
    )


def _importance(study: optuna.Study, complete: list[FrozenTrial]) -> dict[str, float]:
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _best(study: optuna.Study) -> FrozenTrial | None:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def _spent(study: optuna.Study) -> float:
    return float(sum(trial.user_attrs.get("seconds", 0.0) for trial in _finished(study)))


def _choice(values: tuple[int, ...], own: int) -> CategoricalDistribution:
    return CategoricalDistribution(sorted({*values, own}))


def _digest(params: Mapping[str, Value]) -> str:
    return hashlib.blake2b(msgspec.json.encode(params, order="sorted"), digest_size=8).hexdigest()


def _name_of(
    log: EventLog,
    spec: ModelSpec,
    items: tuple[str, ...],
    base: TrainConfig,
    space: Space,
    pruner: PrunerName,
) -> str:
    course = msgspec.structs.replace(base, threads=1, save_every=1)
    ranges = {name: repr(found) for name, found in space.items()}
    content = msgspec.json.encode([spec, course, data_hash(log, items), ranges, pruner])
    return hashlib.blake2b(content, digest_size=8).hexdigest()
