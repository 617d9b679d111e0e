"""What a prepared folder says of itself; it is written last, so that what has one is whole."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from stream_app.prepare.config import PrepareConfig, PrepareError
from stream_app.prepare.cuts import Cuts
from stream_app.prepare.statistics import Statistics

MANIFEST_FILE, SUMMARY_FILE, STATISTICS_FILE = "manifest.json", "summary.json", "statistics.json"
REPORT_FILE, EVENTS_FOLDER, WORK_FOLDER = "report.html", "events", ".work"
FORMAT = 1
_BLOCK_BYTES = 1 << 20


class Input(msgspec.Struct, frozen=True):
    """A file by its content."""

    name: str
    size_bytes: int
    blake2b: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What was prepared from what, and how."""

    format: int = FORMAT
    key: str  # names the inputs and the settings
    inputs: tuple[Input, ...]
    config: PrepareConfig
    cuts: Cuts
    events: int
    features: tuple[str, ...]
    made_up_times: bool
    backend: str


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a finished folder, None without one. Raises PrepareError for another
    format's."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        return None
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise PrepareError(
            f"{path} is no manifest of a prepared log ({error}); prepare into another folder."
        ) from error
    if manifest.format != FORMAT:
        raise PrepareError(
            f"{folder} has format {manifest.format}, this version reads {FORMAT}; prepare it again."
        )
    return manifest


def write_json(path: Path, content: Manifest | dict[str, Statistics] | msgspec.Struct) -> None:
    """Write a file as JSON, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    partial.replace(path)


def inputs_of(paths: Sequence[Path], report: Callable[[int, int], None]) -> tuple[Input, ...]:
    """Read all files once, for what names them by their content."""
    total = sum(path.stat().st_size for path in paths)
    done = 0
    found = []
    for path in paths:
        digest = hashlib.blake2b(digest_size=16)
        size_bytes = 0
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                size_bytes += len(block)
                report(done + size_bytes, total)
        done += size_bytes
        found.append(Input(path.name, size_bytes, digest.hexdigest()))
    return tuple(found)


def key_of(inputs: Sequence[Input], *settings: object) -> str:
    """Names a preparation: 32 hex digits over the contents of its files, and its settings."""
    contents = [one.blake2b for one in inputs]
    encoded = msgspec.json.encode([FORMAT, contents, settings], order="sorted")
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()
