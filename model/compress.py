"""A smaller or cheaper form of a served GRU, and what it keeps of its quality."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal, get_args

import msgspec
from rich.console import Console

from model import baselines, checkpoint
from model.architectures import net_of
from model.bound import (
    Measured,
    Parity,
    check_bound,
    engine_bytes,
    measured,
    publish,
    save_parity,
    steps_of,
)
from model.checkpoint import Checkpoint, load
from model.config import TrainConfig
from model.data import data_hash
from model.distil import Taught, Teachers
from model.engine import OnnxEngine, open_engine
from model.export import export
from model.guide import Guide
from model.lessons import asked_of, hear, source_of
from model.measure import raced_us
from model.net_shape import SERVED_NETS
from model.parity import ParityError, check_batching
from model.phase import Exam
from model.prune import PRUNED, kept_units, magnitude_masks, narrowed
from model.quantise import Scale, quantised
from model.recommender import ranks_of
from model.resume import Position
from model.scan_index import read_index
from model.scoring import NetRecommender
from model.served import GRAPH_FILES, INDEX_FILE, STEP_FILE, Graphs, Step, save_step
from model.served_ranks import served_ranks
from model.session import StepSession
from model.spec import ModelSpec
from model.train import train

Method = Literal["magnitude", "structured", "int8-dynamic", "int8-static", "fp16"]
METHODS: tuple[Method, ...] = get_args(Method)
WORK = "train/compressed"


class CompressError(ValueError):
    """A model that a method cannot make smaller, or a setting out of range."""

    exit_code: ClassVar[int] = 2


class RefusedError(ValueError):
    """A form of a model that must not be served, with the evidence."""

    exit_code: ClassVar[int] = 1


def compress(
    saved: Checkpoint,
    data: Taught,
    method: Method,
    share: float,
    config: TrainConfig,
    bound: float,
    out: Path,
    *,
    created_at: str = "",
    console: Console | None = None,
    on_batch: Callable[[Position], None] = lambda position: None,
) -> Parity:
    """Compress a model and write it to ``out`` if it keeps ``bound`` of its Recall@20.

    What is pruned (the ``share``) is trained on ``data.log`` for the settings' epochs, with the
    model itself as its teacher. Raises BoundError, RefusedError for a form whose answers to one
    user depend on the others in the batch, CompressError; then ``out`` holds no model, and where
    there was something to measure the report. A killed run goes on when it is called again.
    """
    _check(saved, method, share)
    work, before = out / WORK, out / "train" / "before"
    steps = steps_of(data.log, asked_of(data.log, saved.spec))
    _save(before, saved, saved.spec, data, created_at)
    export(before, steps)
    if method in ("magnitude", "structured"):
        _prune(saved, data, method, share, config, out, created_at, console, on_batch)
        export(work, steps)
    else:
        dtype = "float16" if method == "fp16" else saved.spec.memory_dtype
        spec = msgspec.structs.replace(
            saved.spec, name=f"{saved.spec.name}-{method.partition('-')[0]}", memory_dtype=dtype
        )
        _save(work, saved, spec, data, created_at)
        export(work, steps)
        if method != "fp16":
            _quantise(work, "static" if method == "int8-static" else "dynamic", data)
    original = served_measure(before, data.exam, saved.spec.name)
    smaller = served_measure(work, data.exam, method)
    costs = raced_us([open_engine(folder) for folder in (before, work)], steps)
    parity = Parity(
        before=msgspec.structs.replace(original, answer_us=costs[0]),
        after=(msgspec.structs.replace(smaller, answer_us=costs[1]),),
        questions=len(data.exam.questions.event),
        bound=bound,
        notes=_notes(work, method),
    )
    save_parity(out, parity)
    check_bound(parity)
    publish(work, out)
    return parity


def served_measure(folder: Path, exam: Exam, name: str) -> Measured:
    """An exported model as it is served; under a protocol that takes seen items out of rankings
    its net's, since a served list holds them."""
    if exam.filter_seen:
        saved = load(folder)
        voice = NetRecommender(net_of(saved), saved.spec)
        ranks = ranks_of(voice, exam.log, saved.spec, exam.questions, filter_seen=True)
    else:
        ranks = served_ranks(open_engine(folder), exam.log, exam.questions)
    return measured(name, ranks, engine_bytes(folder))


def _check(saved: Checkpoint, method: Method, share: float) -> None:
    net = saved.manifest.net.name
    if net not in SERVED_NETS:
        raise CompressError(
            f"the model's net is {net!r}; what is served is a {', '.join(SERVED_NETS)}: distil "
            "one from it with clickahead distill"
        )
    if method == "fp16" and saved.spec.memory_dtype == "float16":
        raise CompressError("the model's memory is float16 already; choose another --method")
    if not 0 < share < 1:
        raise CompressError(f"the share to prune must be between 0 and 1, got {share:g}")


def _prune(
    saved: Checkpoint,
    data: Taught,
    method: Method,
    share: float,
    config: TrainConfig,
    out: Path,
    created_at: str,
    console: Console | None,
    on_batch: Callable[[Position], None],
) -> None:
    teacher = Teachers([saved])
    source = source_of(teacher.fingerprints, data_hash(data.log, saved.items))
    lessons = hear(teacher, data.log, saved.spec, out / "train" / "lessons.npy", source)
    spec, weights = saved.spec, saved.weights
    kept = magnitude_masks(weights, share) if method == "magnitude" else {}
    if method == "structured":
        asked = asked_of(data.log, saved.spec)
        spec, weights = narrowed(saved, kept_units(net_of(saved), data.log, spec, asked, share))
    spec = msgspec.structs.replace(spec, name=f"{saved.spec.name}-{method}")
    train(
        data.log,
        spec,
        saved.items,
        config.with_tasks(saved.manifest.net),
        out / WORK,
        guide=Guide(weights=weights, kept=kept, lessons=lessons),
        created_at=created_at,
        console=console,
        on_batch=on_batch,
    )


def _save(folder: Path, saved: Checkpoint, spec: ModelSpec, data: Taught, created_at: str) -> None:
    baselines.save(folder, baselines.fit(data.log, spec))
    checkpoint.save(
        folder,
        spec,
        saved.items,
        saved.weights,
        net=saved.manifest.net,
        metrics=saved.manifest.metrics,
        config=saved.manifest.config,
        data_hash=saved.manifest.data_hash,
        created_at=created_at,
    )


def _quantise(folder: Path, scale: Scale, data: Taught) -> None:
    """Replace an exported folder's graph by its int8 form; RefusedError where it must not be."""
    saved, exact = load(folder), open_engine(folder)
    step = msgspec.json.decode((folder / STEP_FILE).read_bytes(), type=Step)
    steps = steps_of(data.log, asked_of(data.log, saved.spec))
    held = Graphs(*((folder / name).read_bytes() for name in GRAPH_FILES))
    graphs = quantised(held, scale, exact, steps)
    index_content = (folder / INDEX_FILE).read_bytes() if step.index_digest else b""
    directions = checkpoint.scaled_directions(saved.spec, saved.weights)
    index = read_index(index_content, directions) if index_content else None
    session = StepSession(graphs, saved.spec, index)
    engine = OnnxEngine(saved, session, step.initial_log_z, {})
    try:
        check_batching(engine, steps)
    except ParityError as error:
        raise RefusedError(
            f"int8 with {scale} scales is not for serving: {error}. A user's answer would depend "
            "on who else clicked at that moment; use --method int8-static, whose scales are fixed"
        ) from None
    step = msgspec.structs.replace(
        step,
        graph_digests=graphs.digests(),
        measured={**step.measured, "weights": f"int8, {scale} scales"},
    )
    save_step(folder, step, graphs, index_content)


def _notes(folder: Path, method: Method) -> tuple[str, ...]:
    saved = load(folder)
    if method == "magnitude":
        zeros = [1 - float((saved.weights[name] != 0).mean()) for name in PRUNED]
        share = sum(zeros) / len(zeros)
        return (
            f"{share:.1%} of the recurrent weights are 0; ONNX Runtime multiplies by zeros too, so "
            "neither the graph nor the step is smaller: the folder compresses better, no more",
        )
    if method == "structured":
        return (f"{saved.spec.hidden_width} hidden units are left",)
    return ()
