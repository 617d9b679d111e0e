"""A GRU that learns from larger models: from their best guesses, and from what came."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.architectures import net_of
from model.bound import (
    Measured,
    Parity,
    check_bound,
    engine_bytes,
    measured,
    net_costs_us,
    publish,
    save_parity,
    steps_of,
    sum_of,
    weight_bytes,
)
from model.checkpoint import Checkpoint, load
from model.config import TrainConfig
from model.data import data_hash
from model.engine import open_engine
from model.export import export
from model.guide import Guide
from model.lessons import hear, source_of
from model.log import EventLog
from model.measure import latency_us
from model.phase import Exam
from model.questions import Questions
from model.recommender import ranks_of
from model.resume import Position
from model.scoring import NetRecommender
from model.served_ranks import served_ranks
from model.spec import Floats, ModelSpec
from model.train import train

STUDENT = "train/student"


class TeacherError(ValueError):
    """Models that cannot teach together, or not this."""

    exit_code: ClassVar[int] = 2


class Teachers:
    """One model, or several whose log-probabilities are averaged; scores are log-probabilities."""

    def __init__(self, checkpoints: Sequence[Checkpoint]) -> None:
        first = checkpoints[0]
        for other in checkpoints[1:]:
            if other.items != first.items or _reads(other.spec) != _reads(first.spec):
                raise TeacherError(
                    f"{first.spec.name}-{first.manifest.fingerprint} and {other.spec.name}-"
                    f"{other.manifest.fingerprint} have different items, actions or inputs; teach "
                    "with models that were trained on the same log"
                )
        self.spec, self.items = first.spec, first.items
        self.fingerprints = [saved.manifest.fingerprint for saved in checkpoints]
        self.nets = [net_of(saved) for saved in checkpoints]
        self._voices = [NetRecommender(net, first.spec) for net in self.nets]

    @property
    def name(self) -> str:
        nets = [type(net).__name__.removesuffix("Net") for net in self.nets]
        return " + ".join(nets)

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """What ``Recommender.scores`` promises."""
        total = self._voices[0].scores(log, questions)
        if len(self._voices) == 1:
            return total
        for voice in self._voices[1:]:
            total = total + voice.scores(log, questions)
        mean = torch.from_numpy(total / len(self._voices))
        answer: Floats = torch.log_softmax(mean, 1).numpy()
        return answer


class DistilConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to listen to teachers."""

    temperature: float = 1.0
    # Share of the item loss that is theirs.
    teacher_weight: float = 0.7
    bound: float = 0.98

    def __post_init__(self) -> None:
        if not 0.1 <= self.temperature <= 100:
            raise TeacherError(f"temperature must be 0.1 to 100, got {self.temperature:g}")
        if not 0 < self.teacher_weight <= 1:
            raise TeacherError(f"teacher_weight must be in (0, 1], got {self.teacher_weight:g}")
        if not 0 < self.bound <= 1:
            raise TeacherError(f"bound must be in (0, 1], got {self.bound:g}")


class Taught(NamedTuple):
    """The data of a distillation: ``log`` to learn from, ``exam`` to measure on."""

    log: EventLog
    exam: Exam


def distil(
    teachers: Teachers,
    data: Taught,
    spec: ModelSpec,
    train_config: TrainConfig,
    config: DistilConfig,
    out: Path,
    *,
    created_at: str = "",
    console: Console | None = None,
    on_batch: Callable[[Position], None] = lambda position: None,
) -> Parity:
    """Train a student of the teachers, export it, and copy it to ``out`` if it is good enough.

    ``spec`` is the student's; ``data.log`` is all it learns from, and ``data.exam`` what both
    are measured on. The report is written either way. Raises BoundError where the student keeps
    too little, and what ``train`` and ``export`` raise; then ``out`` holds no model. A killed run
    goes on when the same call is made again.
    """
    log, exam = data
    work = out / STUDENT
    source = source_of(teachers.fingerprints, data_hash(log, teachers.items))
    with bar(console) as shown:
        task = shown.add_task("listening to the teacher", total=None)
        lessons = hear(
            teachers,
            log,
            teachers.spec,
            out / "train" / "lessons.npy",
            source,
            lambda done, total: shown.update(task, completed=done, total=total),
        )
    lessons = msgspec.structs.replace(
        lessons, temperature=config.temperature, weight=config.teacher_weight
    )
    train(
        log,
        spec,
        teachers.items,
        train_config,
        work,
        guide=Guide(lessons=lessons),
        created_at=created_at,
        console=console,
        on_batch=on_batch,
    )
    export(work, steps_of(exam.log, exam.questions))
    before = _measured_teachers(teachers, exam, console)
    after = measured_model(work, exam, "student")
    questions = len(exam.questions.event)
    parity = Parity(before=before, after=after, questions=questions, bound=config.bound)
    save_parity(out, parity)
    check_bound(parity)
    publish(work, out)
    return parity


def measured_model(folder: Path, exam: Exam, name: str) -> tuple[Measured, Measured]:
    """An exported model, as a net in torch and as it is served."""
    saved, engine = load(folder), open_engine(folder)
    net = net_of(saved)
    exact = ranks_of(
        NetRecommender(net, saved.spec),
        exam.log,
        saved.spec,
        exam.questions,
        filter_seen=exam.filter_seen,
    )
    steps, answers = net_costs_us(net, saved.spec)
    # A worker's list holds seen items too: without them its ranks cannot be compared.
    ranks = exact if exam.filter_seen else served_ranks(engine, exam.log, exam.questions)
    return (
        measured(name, exact, weight_bytes(net), steps, answers),
        measured(f"{name}, served", ranks, engine_bytes(folder), answer_us=latency_us(engine)),
    )


def bar(console: Console | None) -> Progress:
    """A progress bar over counted work."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=console is None,
    )


def _measured_teachers(teachers: Teachers, exam: Exam, console: Console | None) -> Measured:
    with bar(console) as shown:
        task = shown.add_task("measuring the teacher", total=len(exam.questions.event))
        ranks = ranks_of(
            teachers,
            exam.log,
            teachers.spec,
            exam.questions,
            filter_seen=exam.filter_seen,
            on_progress=lambda count: shown.advance(task, count),
        )
    costs = [net_costs_us(net, teachers.spec) for net in teachers.nets]
    return measured(
        teachers.name,
        ranks,
        sum(map(weight_bytes, teachers.nets)),
        sum_of([cost[0] for cost in costs]),
        sum_of([cost[1] for cost in costs]),
    )


def _reads(spec: ModelSpec) -> tuple[object, ...]:
    return (
        spec.actions,
        spec.features,
        spec.gap_edges_ms,
        spec.cold_buckets,
        spec.reset_at_session,
    )
