"""What lies in a model's folder for serving: the graphs, their description, the calibration."""

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from model.checkpoint import write_atomically
from model.spec import ModelSpec

STEP_FILE = "step.json"
CALIBRATION_FILE = "calibration.safetensors"
INDEX_FILE = "index.safetensors"
FORMER_GRAPH_FILE = "step.onnx"  # of format 1

GRAPH_FORMAT = 2
_SEVERAL = ("top_logp", "action_logp", "gap_logp")
MAX_GRAPH_BYTES = (1 << 31) - 1  # protobuf takes no larger message

ScanName = Literal["exact", "int8", "projected"]


class Graphs(NamedTuple):
    """Two graphs as ONNX bytes: see ``model.graph``."""

    recurrence: bytes
    read_out: bytes

    def digests(self) -> tuple[str, ...]:
        return tuple(map(digest_of, self))


GRAPH_FILES = tuple(f"{name}.onnx" for name in Graphs._fields)


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``step.json``: which graphs, of which model, with which scan, and what was measured."""

    format: int
    fingerprint: str  # of the weights, the spec and the vocabulary: Engine.fingerprint
    graph_digests: tuple[str, ...]  # of the bytes of GRAPH_FILES
    scan: ScanName
    initial_log_z: float  # log normaliser under the memory of a user who has done nothing
    index_digest: str = ""  # of the bytes of ``index.safetensors``, where the scan has one
    measured: dict[str, Any] = {}


def score_columns(spec: ModelSpec) -> dict[str, int]:
    """Names and widths of the parts of a row of the read-out's ``scores``, in their order."""
    return {
        "item_surprise": 1,
        "action_surprise": 1,
        "log_z": 1,
        "top_logp": spec.top_k,
        "action_logp": len(spec.actions),
        "intent": 2,
        "gap_logp": spec.gap_count - 1,
    }


def columns_of(spec: ModelSpec) -> dict[str, Any]:
    """Where each part of an ``Advance`` lies in a row of scores: one column, or several."""
    found, start = dict[str, Any](), 0
    for name, width in score_columns(spec).items():
        found[name] = slice(start, start + width) if name in _SEVERAL else start
        start += width
    intent = found.pop("intent")
    return {**found, "cart": intent, "purchase": intent + 1}


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def save_step(directory: Path, step: Step, graphs: Graphs, index: bytes = b"") -> None:
    """Write graphs, their index and their description; the description last, so that a cut leaves
    no mix."""
    for name, graph in zip(GRAPH_FILES, graphs, strict=True):
        write_atomically(directory / name, graph)
    (directory / FORMER_GRAPH_FILE).unlink(missing_ok=True)
    if index:
        write_atomically(directory / INDEX_FILE, index)
    else:
        (directory / INDEX_FILE).unlink(missing_ok=True)
    text = msgspec.json.format(msgspec.json.encode(step), indent=2)
    write_atomically(directory / STEP_FILE, text + b"\n")
