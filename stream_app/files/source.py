"""Opening a file: which format it has, by its content first and its name second."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from stream_app.files.event import FileError
from stream_app.files.lines import lines

Kind = Literal["text", "json", "parquet"]
Advance = Callable[[int], None]

HEAD_BYTES = 1 << 20
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Source(NamedTuple):
    """A file that is there, and its first lines (none for Parquet), without their ends."""

    path: Path
    kind: Kind
    gzipped: bool
    head: tuple[bytes, ...]
    size_bytes: int


def inspect(path: Path) -> Source:
    """Look at the beginning of a file. Raises FileError when it is none that can be read."""
    if path.is_dir():
        raise FileError(f"{path} is a folder; name the files in it.")
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error
    if magic == _PARQUET:
        return Source(path, "parquet", False, (), size_bytes)
    if magic == _ZSTD:
        raise FileError(
            f"{path} is compressed with zstd, which is not read here; unpack it (zstd -d) or"
            " compress it with gzip."
        )
    gzipped = magic.startswith(_GZIP)
    head = _head(path, gzipped)
    text = b"\n".join(head)
    if text.startswith(_UTF16):
        raise FileError(f"{path} is UTF-16 text; save it as UTF-8.")
    if text.startswith(_PARQUET):
        raise FileError(f"{path} is gzipped Parquet; unpack it, Parquet compresses by itself.")
    return Source(path, _kind(path, text), gzipped, head, size_bytes)


def stream_lines(source: Source, advance: Advance) -> Iterator[bytes]:
    """All lines of a text file. ``advance`` is told how many bytes on disk were read."""
    try:
        with source.path.open("rb") as file:
            unpacked = gzip.GzipFile(fileobj=file) if source.gzipped else file
            yield from lines(unpacked.read, lambda: advance(file.tell()))
    except (EOFError, OSError, zlib.error) as error:
        raise FileError(f"{source.path} is damaged or cut short: {error}.") from error


def _head(path: Path, gzipped: bool) -> tuple[bytes, ...]:
    try:
        with path.open("rb") as file:
            unpacked = gzip.GzipFile(fileobj=file) if gzipped else file
            start = unpacked.read(HEAD_BYTES)
    except (EOFError, OSError, zlib.error) as error:
        raise FileError(f"{path} is damaged or cut short: {error}.") from error
    found = list(lines(io.BytesIO(start).read, lambda: None))
    # The last of many lines may be cut in its middle.
    return tuple(found[:-1] if len(start) == HEAD_BYTES and len(found) > 1 else found)


def _kind(path: Path, text: bytes) -> Kind:
    start = text.lstrip()[:1]
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if ".json" in suffixes and start == b"[":
        raise FileError(f"{path} is one JSON array; write one object a line (JSON Lines).")
    if start == b"{" or suffixes & {".jsonl", ".ndjson", ".json"}:
        return "json"
    return "text"
