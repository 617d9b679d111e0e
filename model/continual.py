"""Go on learning day by day without forgetting: earlier sessions are replayed, and weights that
mattered are held (elastic weight consolidation).

Backward transfer is that of Lopez-Paz & Ranzato, "Gradient episodic memory for continual learning",
NeurIPS 2017: how much the score on each earlier day has changed by the last day, on average.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from model.architectures import net_of
from model.bound import publish
from model.checkpoint import Checkpoint, load, write_atomically
from model.config import TRUE_SHARE, TrainConfig, between, check_bounds
from model.data import data_hash
from model.export import export
from model.fisher import importance_of
from model.guide import Anchor, Guide
from model.holdout import hold_out, with_sessions
from model.log import EventLog
from model.net_shape import SERVED_NETS
from model.questions import questions_of
from model.ranking import metrics_of
from model.resume import Position
from model.scoring import answer
from model.spec import Floats, ModelSpec, item_hash
from model.train import train
from model.transfer import BY_ACTION, carried_weights

Way = Literal["replay", "plain"]
REPORT_FILE = "continual.json"
_DONE_FILE = "done.json"


class ContinualError(ValueError):
    """Days that nothing can be learned from or measured on."""

    exit_code: ClassVar[int] = 2


class ContinualConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How hard to hold on to earlier days."""

    # Sessions of earlier days that are learned again with each day, as a share of the day's own.
    replay_share: float = 0.5
    # Weight of the penalty on moving weights that mattered before; 0: none.
    ewc: float = 10.0
    # Share of the importance of earlier days that stays with each further one.
    ewc_decay: float = 0.9
    # Share of each day's sessions, the newest, that is measured on and never learned.
    held_out: float = 0.2

    def __post_init__(self) -> None:
        bounds = {between(0, 100): "replay_share", between(0, 1e9): "ewc"}
        check_bounds(self, bounds | {between(0, 1): "ewc_decay", TRUE_SHARE: "held_out"})


class Day(NamedTuple):
    """One day: its name, its log under the vocabulary of all days, and how many items of that
    vocabulary are known by its end."""

    name: str
    log: EventLog
    item_count: int


class Course(msgspec.Struct, frozen=True):
    """What came of one way through the days."""

    way: Way
    days: tuple[str, ...]
    # Row d: Recall@20 on each day's held-out sessions after learning day d; row 0: before any.
    recall: tuple[tuple[float, ...], ...]

    @property
    def backward_transfer(self) -> float:
        """Mean change on the earlier days from when each was new to the end; below 0: forgotten."""
        last = len(self.days)
        changes = [self.recall[last][day] - self.recall[day + 1][day] for day in range(last - 1)]
        return float(np.mean(changes)) if changes else 0.0

    @property
    def final_mean(self) -> float:
        """Mean over all days at the end."""
        return float(np.mean(self.recall[-1]))


def learn_days(
    earlier: Checkpoint,
    days: Sequence[Day],
    spec: ModelSpec,
    items: tuple[str, ...],
    train_config: TrainConfig,
    config: ContinualConfig,
    way: Way,
    out: Path,
    *,
    created_at: str = "",
    console: Console | None = None,
    on_batch: Callable[[Position], None] = lambda position: None,
) -> Course:
    """Learn the days one after the other from ``earlier``; the last day's model lies in
    ``out/days/N/way``. ``spec`` and ``items`` are those of all days. A killed run goes on when it
    is called again. Raises ContinualError and what ``train`` raises.
    """
    held = [hold_out(day.log, config.held_out) for day in days]
    exams = [_Exam(day.log, part.late) for day, part in zip(days, held, strict=True)]
    now, rows = earlier, [_row(earlier, exams, spec, items)]
    importance: dict[str, Floats] = {}
    for number, day in enumerate(days):
        new_spec = msgspec.structs.replace(spec, item_count=day.item_count)
        known = items[: day.item_count]
        new_log = recoded(held[number].early, spec, items, day.item_count)
        past = [recoded(part.early, spec, items, day.item_count) for part in held[:number]]
        weights = carried_weights(now, new_spec, known, new_log)
        if config.ewc:
            fresh = importance_of(weights, past[-1] if past else new_log, new_spec, train_config)
            importance = _added(_grown(importance, now.spec, new_spec), fresh, config.ewc_decay)
        anchor = Anchor(weights, importance, config.ewc) if config.ewc else None
        log = joined([new_log, *_replayed(past, new_log.sessions, number, config, train_config)])
        now = _learned(
            log, new_spec, known, train_config, Guide(weights=weights, anchor=anchor),
            out / "days" / f"{number + 1:03}" / way, created_at, console, on_batch,
        )  # fmt: skip
        rows.append(_row(now, exams, spec, items))
    return Course(way, tuple(day.name for day in days), tuple(rows))


def finish(out: Path, courses: Sequence[Course]) -> None:
    """Export the last day's model of the first course to ``out``, and write the report."""
    course = courses[0]
    folder = out / "days" / f"{len(course.days):03}" / course.way
    if load(folder).manifest.net.name in SERVED_NETS:
        export(folder)
    report = [
        {
            **msgspec.to_builtins(found),
            "backward_transfer": found.backward_transfer,
            "final_mean": found.final_mean,
        }
        for found in courses
    ]
    text = msgspec.json.format(msgspec.json.encode(report), indent=2)
    write_atomically(out / REPORT_FILE, text + b"\n")
    (folder / _DONE_FILE).unlink(missing_ok=True)
    publish(folder, out)


def course_table(course: Course) -> Table:
    """Recall@20 by day learned and day asked."""
    shown = Table(
        title=f"{course.way}: Recall@20 on each day's held-out sessions",
        caption=f"backward transfer {course.backward_transfer:+.4f}, "
        f"mean at the end {course.final_mean:.4f}",
    )
    shown.add_column("after")
    for day in course.days:
        shown.add_column(day, justify="right")
    for name, row in zip(("before", *course.days), course.recall, strict=True):
        shown.add_row(name, *(f"{value:.4f}" for value in row))
    return shown


def recoded(log: EventLog, spec: ModelSpec, items: Sequence[str], count: int) -> EventLog:
    """A log under a vocabulary as it is when only the first ``count`` items are known: the others
    fold into cold buckets."""
    later = [count + item_hash(item) % spec.cold_buckets for item in items[count:]]
    tail = np.arange(spec.item_count, spec.input_count) - (spec.item_count - count)
    codes = np.concatenate([np.arange(count), np.array(later, np.int64), tail])
    return msgspec.structs.replace(log, item=codes[log.item].astype(np.int32))


def joined(logs: Sequence[EventLog]) -> EventLog:
    """Logs one after the other; a user of two of them counts as two users."""
    events = np.cumsum([0, *(log.events for log in logs)])
    sessions = np.cumsum([0, *(log.sessions for log in logs)])
    starts = [log.session_start[:-1] + events[n] for n, log in enumerate(logs)]
    users = [log.user_start[:-1] + sessions[n] for n, log in enumerate(logs)]
    return EventLog(
        item=np.concatenate([log.item for log in logs]),
        action=np.concatenate([log.action for log in logs]),
        gap=np.concatenate([log.gap for log in logs]),
        dense=np.concatenate([log.dense for log in logs]),
        at_ms=np.concatenate([log.at_ms for log in logs]),
        session_start=np.append(np.concatenate(starts), events[-1]),
        user_start=np.append(np.concatenate(users), sessions[-1]),
        closed=np.concatenate([log.closed for log in logs]),
        promoted=_promoted(logs),
    )


def _promoted(logs: Sequence[EventLog]) -> np.ndarray[tuple[int], np.dtype[np.bool_]] | None:
    marks = [log.promoted for log in logs]
    if all(mark is None for mark in marks):
        return None
    nothing = (np.zeros(log.events, bool) for log in logs)
    return np.concatenate([n if m is None else m for m, n in zip(marks, nothing, strict=True)])


class _Exam(NamedTuple):
    log: EventLog
    late: np.ndarray[tuple[int], np.dtype[np.bool_]]  # [N] events that are asked about


def _replayed(
    past: Sequence[EventLog],
    sessions: int,
    number: int,
    config: ContinualConfig,
    train_config: TrainConfig,
) -> list[EventLog]:
    """Sessions of earlier days, drawn evenly, as many as the settings say of ``sessions``."""
    total = sum(log.sessions for log in past)
    wanted = min(total, round(config.replay_share * sessions))
    if wanted == 0:
        return []
    rng = np.random.default_rng([train_config.seed, number])
    keep = np.zeros(total, bool)
    keep[rng.choice(total, wanted, replace=False)] = True
    whole = joined(past)
    return [with_sessions(whole, keep)]


def _learned(
    log: EventLog,
    spec: ModelSpec,
    items: tuple[str, ...],
    config: TrainConfig,
    guide: Guide,
    folder: Path,
    created_at: str,
    console: Console | None,
    on_batch: Callable[[Position], None],
) -> Checkpoint:
    """The model of one day; trained unless it lies there from an earlier call."""
    course = msgspec.json.encode([guide.name, data_hash(log, items), spec, config], order="sorted")
    done = folder / _DONE_FILE
    if not done.exists() or done.read_bytes() != course:
        train(
            log, spec, items, config, folder,
            guide=guide, created_at=created_at, console=console, on_batch=on_batch,
        )  # fmt: skip
        write_atomically(done, course)
    return load(folder)


def _row(
    saved: Checkpoint, exams: Sequence[_Exam], spec: ModelSpec, items: tuple[str, ...]
) -> tuple[float, ...]:
    """Recall@20 of a model on each day; items that it does not know yet are misses."""
    net, row = net_of(saved), []
    asked_spec = saved.spec
    for exam in exams:
        log = recoded(exam.log, spec, items, asked_spec.item_count)
        log = _narrowed(log, spec, asked_spec)
        questions = questions_of(log, asked_spec, "session", exam.late)
        if len(questions.event) == 0:
            raise ContinualError(
                "the newest sessions of a day hold no next item to measure on; give longer days "
                "or a larger --set held_out=SHARE"
            )
        found = answer(net, log, asked_spec, questions, np.zeros(0, np.int64))
        row.append(float(metrics_of(found.ranks)["recall@20"]))
    return tuple(row)


def _narrowed(log: EventLog, spec: ModelSpec, asked: ModelSpec) -> EventLog:
    """What a model that knows fewer actions and features reads of a log: the new actions as the
    one that new actions begin as."""
    action = np.where(log.action < len(asked.actions), log.action, 1).astype(np.int32)
    return msgspec.structs.replace(log, action=action, dense=log.dense[:, : len(asked.features)])


def _grown(importance: dict[str, Floats], before: ModelSpec, after: ModelSpec) -> dict[str, Floats]:
    """Importance with rows for what is new, which has none yet."""
    grown = dict(importance)
    new_actions = len(after.actions) - len(before.actions)
    for name, place, count in (
        ("item_embedding", before.item_count, after.item_count - before.item_count),
        *((name, len(before.actions), new_actions) for name in BY_ACTION),
        ("dense_weight", len(before.features), len(after.features) - len(before.features)),
    ):
        if name in grown:
            nothing = np.zeros((count, *grown[name].shape[1:]), np.float32)
            grown[name] = np.concatenate([grown[name][:place], nothing, grown[name][place:]])
    return grown


def _added(before: dict[str, Floats], fresh: dict[str, Floats], decay: float) -> dict[str, Floats]:
    if not before:
        return fresh
    return {name: before[name] * np.float32(decay) + fresh[name] for name in fresh}
