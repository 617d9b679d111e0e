"""From a trained model's folder to a served one: graph, parity checks, choice of the scan."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from model import graph, reference
from model.checkpoint import load
from model.engine import OnnxEngine, open_session
from model.parity import check_parity, random_tokens
from model.served import GRAPH_FORMAT, ScanName, Step, digest_of, save_step
from model.spec import Tokens


class ExportReport(msgspec.Struct, frozen=True):
    """What an export chose and why; the same numbers go to ``step.json``."""

    scan: ScanName
    parity: float  # largest distance to the float64 reference


def export(
    model_dir: Path,
    validation: Sequence[Tokens] | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> ExportReport:
    """Make a trained model's folder servable: write ``step.onnx`` and ``step.json`` into it.

    ``validation`` holds successive events of the same users: element t has the t-th event of each
    user who has that many, users in the same order, those with most events first. Without it,
    random tokens stand in. Raises ParityError, and writes nothing, if the graph disagrees with
    the reference.
    """
    checkpoint = load(model_dir)
    steps = validation or random_tokens(checkpoint.spec, rows=64, length=6, seed=0)
    progress("exact scan")
    content = graph.build(checkpoint.spec, checkpoint.weights, checkpoint.fingerprint)
    start = reference.initial(checkpoint.spec, checkpoint.weights, 1)
    engine = OnnxEngine(checkpoint, open_session(content), float(start.log_z[0]), {})
    distance = check_parity(checkpoint, engine, steps)
    step = Step(
        format=GRAPH_FORMAT,
        fingerprint=checkpoint.manifest.fingerprint,
        graph_digest=digest_of(content),
        scan="exact",
        initial_log_z=float(start.log_z[0]),
        measured={"parity": distance},
    )
    save_step(model_dir, step, content)
    return ExportReport("exact", distance)
