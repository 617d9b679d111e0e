"""From a trained model's folder to a served one: graph, parity checks, choice of the scan."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from model import graph, reference
from model.calibration import CalibrationError, read_calibration
from model.calibration import save_calibration as save_calibration
from model.checkpoint import Checkpoint, load, scaled_directions
from model.engine import OnnxEngine
from model.measure import Agreement, agreement, latency_us
from model.net_shape import SERVED_NETS
from model.parity import check_batching, check_parity, first_rows
from model.scan import GROUPED_FROM, MAX_LOGIT_SCALE
from model.scan_fit import fit_index, least_recall
from model.scan_index import ScanIndex, index_bytes
from model.served import (
    CALIBRATION_FILE,
    GRAPH_FORMAT,
    MAX_GRAPH_BYTES,
    Graphs,
    ScanName,
    Step,
    digest_of,
    save_step,
)
from model.session import StepSession
from model.spec import Floats, ModelSpec, Tokens
from model.stand_in import random_tokens

# Below this many numbers (items times width) the exact scan is as fast as int8 and its second pass:
# measured, the lines cross at 9,000 items of 64 numbers and at 4,000 to 6,000 of 128.
APPROXIMATE_FROM_NUMBERS = 640_000
MAX_QUERIES = 2_048
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
    graphs: Graphs
    engine: OnnxEngine
    initial_log_z: float
    index_content: bytes


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
    """Make a trained model's folder servable: write the graphs and ``step.json`` into it.

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
    built: dict[ScanName, Built] = {"exact": exact}
    candidates = [Candidate("exact", sum(map(len, exact.graphs)), latency_us(exact.engine))]
    for name in _approximate(spec, scan):
        progress(f"building the {name} scan")
        index = _index(checkpoint, exact.engine, steps) if name == "projected" else None
        if name == "projected" and index is None:
            continue
        found = built[name] = _build(checkpoint, name, steps, index)
        progress(f"measuring the {name} scan")
        agrees = agreement(exact.engine, found.engine, steps)
        size = sum(map(len, found.graphs))
        candidates.append(Candidate(name, size, latency_us(found.engine), agrees))
        if choose(spec, candidates, scan)[0] == name:
            break
    chosen, reason = choose(spec, candidates, scan)
    report = ExportReport(chosen, reason, parity, tuple(candidates))
    _save(model_dir, checkpoint, built[chosen], report)
    return report


def is_large(spec: ModelSpec) -> bool:
    """Whether an approximate scan may be faster than an exact one."""
    return spec.item_count >= GROUPED_FROM and _numbers(spec) >= APPROXIMATE_FROM_NUMBERS


def _approximate(spec: ModelSpec, scan: ScanName | None) -> Sequence[ScanName]:
    """What to try, the cheapest to serve first."""
    if scan is not None:
        return () if scan == "exact" else (scan,)
    return ("projected", "int8") if is_large(spec) else ()


def choose(
    spec: ModelSpec, candidates: Sequence[Candidate], scan: ScanName | None
) -> tuple[ScanName, str]:
    """The scan to serve and the reason in words.

    The measured quality decides, and the order of trying stands for the speed: by the clock of a
    busy machine two exports of one model would differ.
    """
    if scan is not None:
        if scan not in {candidate.scan for candidate in candidates}:
            raise ExportError(
                f"the {scan} scan cannot be as good as it has to be with this model's items; "
                "leave the choice to the export"
            )
        return scan, "asked for"
    enough = least_recall(spec.item_count)
    found = f"{_numbers(spec)} numbers to scan are fewer than {APPROXIMATE_FROM_NUMBERS}"
    for candidate in candidates:
        quality = candidate.agreement
        if quality is None:
            continue
        found = f"recall@{spec.top_k} {quality.recall:.4f}"
        found += f", log Z error {quality.log_z_error_p99:.4f}"
        if quality.recall >= enough and quality.log_z_error_p99 <= MAX_LOG_Z_ERROR:
            return candidate.scan, found
        found = f"{candidate.scan} misses recall {enough} or error {MAX_LOG_Z_ERROR}: {found}"
    return "exact", found


def _build(
    checkpoint: Checkpoint,
    scan: ScanName,
    steps: Sequence[Tokens],
    index: ScanIndex | None = None,
) -> Built:
    spec = checkpoint.spec
    directions = None if index is None else index.directions
    graphs = graph.build(spec, checkpoint.weights, checkpoint.fingerprint, scan, directions)
    log_z = float(reference.initial(spec, checkpoint.weights, 1).log_z[0])
    engine = OnnxEngine(checkpoint, StepSession(graphs, spec, index), log_z, {})
    check_batching(engine, steps)
    return Built(graphs, engine, log_z, b"" if index is None else index_bytes(index))


def _index(checkpoint: Checkpoint, exact: OnnxEngine, steps: Sequence[Tokens]) -> ScanIndex | None:
    """The projected scan's index; None where it does not suit the model's items."""
    vectors = scaled_directions(checkpoint.spec, checkpoint.weights)
    return fit_index(vectors, _queries(exact, steps), checkpoint.spec.top_k)


def _queries(engine: OnnxEngine, steps: Sequence[Tokens]) -> Floats:
    """Unit vectors of the memories that the steps leave behind [N, H], at most MAX_QUERIES."""
    memory, found = engine.initial(len(steps[0].item)), []
    for tokens in steps:
        memory = engine.advance(tokens, first_rows(memory, len(tokens.item))).memory
        found.append(memory.hidden.astype(np.float32))
    hidden = np.concatenate(found)  # [N, H]
    hidden = hidden[:: max(1, len(hidden) // MAX_QUERIES)][:MAX_QUERIES]
    return np.asarray(hidden / np.linalg.norm(hidden, axis=1, keepdims=True))


def _save(model_dir: Path, checkpoint: Checkpoint, built: Built, report: ExportReport) -> None:
    measured: dict[str, Any] = msgspec.to_builtins(report)
    step = Step(
        format=GRAPH_FORMAT,
        fingerprint=checkpoint.manifest.fingerprint,
        graph_digests=built.graphs.digests(),
        scan=report.scan,
        initial_log_z=built.initial_log_z,
        index_digest=digest_of(built.index_content) if built.index_content else "",
        measured=measured,
    )
    save_step(model_dir, step, built.graphs, built.index_content)
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
    if scan in ("int8", "projected") and spec.item_count < GROUPED_FROM:
        raise ExportError(
            f"the {scan} scan needs {GROUPED_FROM} items, the model has {spec.item_count}; "
            "leave the choice to the export"
        )
    if not abs(scale) <= MAX_LOGIT_SCALE:
        raise ExportError(
            f"the logit scale is {scale:.1f}, at most {MAX_LOGIT_SCALE} can be served; "
            "train with a smaller one or with weight decay"
        )
    # Per item a row of the input table, or one of the surprise table and one of the scan.
    size = 4 * spec.input_count * 3 * spec.hidden_width
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
