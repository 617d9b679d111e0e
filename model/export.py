"""From a trained model's folder to a served one: graph, parity checks, choice of the scan."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec

from model import graph, reference
from model.calibration import CalibrationError, read_calibration
from model.calibration import save_calibration as save_calibration
from model.checkpoint import Checkpoint, load
from model.engine import OnnxEngine
from model.measure import Agreement, agreement, latency_us
from model.net_shape import SERVED_NETS
from model.parity import check_batching, check_parity
from model.scan import GROUPED_FROM, MAX_LOGIT_SCALE
from model.served import (
    CALIBRATION_FILE,
    GRAPH_FORMAT,
    MAX_GRAPH_BYTES,
    ScanName,
    Step,
    digest_of,
    save_step,
)
from model.session import StepSession
from model.spec import ModelSpec, Tokens
from model.stand_in import random_tokens

# Below this many numbers (items times width) the exact scan is as fast as int8 and its second pass:
# measured, the lines cross at 9,000 items of 64 numbers and at 4,000 to 6,000 of 128.
INT8_FROM_NUMBERS = 640_000
MIN_RECALL = 0.999
MAX_LOG_Z_ERROR = 0.05  # nats, 99 % of the queries


class ExportError(ValueError):
    """A model that cannot be served as it is."""

    exit_code: ClassVar[int] = 2


class Candidate(msgspec.Struct, frozen=True):
    """One way to serve the model, and what it measured."""

    scan: ScanName
    graph_bytes: int
    latency_us: dict[str, float]  # microseconds an event, by batch size
    agreement: Agreement | None = None  # with the exact scan


class Built(NamedTuple):
    content: bytes
    engine: OnnxEngine
    initial_log_z: float


class ExportReport(msgspec.Struct, frozen=True):
    """What an export chose and why; ``step.json`` holds the same under ``measured``."""

    scan: ScanName
    reason: str
    parity: float  # largest distance to the float64 reference
    candidates: tuple[Candidate, ...]


def export(
    model_dir: Path,
    validation: Sequence[Tokens] | None = None,
    progress: Callable[[str], None] = lambda stage: None,
    scan: ScanName | None = None,
) -> ExportReport:
    """Make a trained model's folder servable: write ``step.onnx`` and ``step.json`` into it.

    ``validation`` holds successive events of held-out users: element t has the t-th event of each
    user who has that many, users in the same order, those with most events first. Without it,
    random events stand in. ``scan`` overrules the choice. ``progress`` hears what is done next.

    Raises ParityError where the graph disagrees with the reference or a row's bits depend on its
    batch, ExportError where the model cannot be served; then nothing is written.
    """
    checkpoint = load(model_dir)
    spec = checkpoint.spec
    _check_limits(checkpoint, scan)
    steps = validation or random_tokens(spec, rows=256, length=8, seed=0)
    progress("building the exact scan")
    exact = _build(checkpoint, "exact", steps)
    progress("comparing with the reference")
    parity = check_parity(checkpoint, exact.engine, steps)
    progress("measuring the exact scan")
    built = {"exact": exact}
    candidates = [Candidate("exact", len(exact.content), latency_us(exact.engine))]
    if scan == "int8" or (scan is None and is_large(spec)):
        progress("building the int8 scan")
        int8 = built["int8"] = _build(checkpoint, "int8", steps)
        progress("measuring the int8 scan")
        agrees = agreement(exact.engine, int8.engine, steps)
        candidates.append(Candidate("int8", len(int8.content), latency_us(int8.engine), agrees))
    chosen, reason = choose(spec, candidates, scan)
    report = ExportReport(chosen, reason, parity, tuple(candidates))
    _save(model_dir, checkpoint, built[chosen], report)
    return report


def is_large(spec: ModelSpec) -> bool:
    """Whether an int8 scan may be faster than an exact one."""
    return spec.item_count >= GROUPED_FROM and _numbers(spec) >= INT8_FROM_NUMBERS


def choose(
    spec: ModelSpec, candidates: Sequence[Candidate], scan: ScanName | None
) -> tuple[ScanName, str]:
    """The scan to serve and the reason in words.

    The measured quality decides, and the size of the scan stands for the speed: by the clock of a
    busy machine two exports of one model would differ.
    """
    if scan is not None:
        return scan, "asked for"
    quality = {candidate.scan: candidate.agreement for candidate in candidates}.get("int8")
    if quality is None:
        return "exact", f"{_numbers(spec)} numbers to scan are fewer than {INT8_FROM_NUMBERS}"
    found = f"recall@{spec.top_k} {quality.recall:.4f}, log Z error {quality.log_z_error_p99:.4f}"
    if quality.recall < MIN_RECALL or quality.log_z_error_p99 > MAX_LOG_Z_ERROR:
        return "exact", f"int8 misses recall {MIN_RECALL} or error {MAX_LOG_Z_ERROR}: {found}"
    return "int8", found


def _build(checkpoint: Checkpoint, scan: ScanName, steps: Sequence[Tokens]) -> Built:
    spec = checkpoint.spec
    content = graph.build(spec, checkpoint.weights, checkpoint.fingerprint, scan)
    log_z = float(reference.initial(spec, checkpoint.weights, 1).log_z[0])
    engine = OnnxEngine(checkpoint, StepSession(content, spec), log_z, {})
    check_batching(engine, steps)
    return Built(content, engine, log_z)


def _save(model_dir: Path, checkpoint: Checkpoint, built: Built, report: ExportReport) -> None:
    measured: dict[str, Any] = msgspec.to_builtins(report)
    step = Step(
        format=GRAPH_FORMAT,
        fingerprint=checkpoint.manifest.fingerprint,
        graph_digest=digest_of(built.content),
        scan=report.scan,
        initial_log_z=built.initial_log_z,
        measured=measured,
    )
    save_step(model_dir, step, built.content)
    _drop_foreign_calibration(model_dir, step.fingerprint)


def _numbers(spec: ModelSpec) -> int:
    return spec.item_count * spec.hidden_width


def _check_limits(checkpoint: Checkpoint, scan: ScanName | None) -> None:
    spec, scale = checkpoint.spec, float(checkpoint.weights["logit_scale"])
    net = checkpoint.manifest.net.name
    if net not in SERVED_NETS:
        raise ExportError(
            f"the model's net is {net!r}, and a worker serves {', '.join(SERVED_NETS)} alone; "
            "train one with --set net=gru"
        )
    if scan == "int8" and spec.item_count < GROUPED_FROM:
        raise ExportError(
            f"the int8 scan needs {GROUPED_FROM} items, the model has {spec.item_count}; "
            "leave the choice to the export"
        )
    if not abs(scale) <= MAX_LOGIT_SCALE:
        raise ExportError(
            f"the logit scale is {scale:.1f}, at most {MAX_LOGIT_SCALE} can be served; "
            "train with a smaller one or with weight decay"
        )
    # Per item a row of the input table, one of the surprise table, and one of the scan.
    size = 4 * spec.input_count * (5 * spec.hidden_width + 1)
    if size > MAX_GRAPH_BYTES:
        raise ExportError(
            f"{spec.item_count} items with {spec.hidden_width} numbers each make a graph of "
            f"{size} bytes, at most {MAX_GRAPH_BYTES} can be served; train a narrower model or "
            "with a higher minimum of events per item"
        )


def _drop_foreign_calibration(model_dir: Path, fingerprint: str) -> None:
    try:
        read_calibration(model_dir, fingerprint)
    except CalibrationError:
        (model_dir / CALIBRATION_FILE).unlink()
