"""Dumps: a topic's records as JSON Lines, byte for byte, and back.

A line holds ``partition``, ``offset``, ``timestamp`` (epoch ms), ``timestamp_type`` (``create`` or
``log_append``), ``key``, ``value`` and ``headers``. Bytes that are valid UTF-8 are text; others
stand in base64 under ``key_base64`` and ``value_base64`` instead. Nothing there is null.
"""

import base64
import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

TimestampType = Literal["create", "log_append", "none"]


class DumpError(ValueError):
    """A line of a dump is malformed; the message names file and line."""

    exit_code: ClassVar[int] = 2


class DumpRecord(NamedTuple):
    """One record as it lies in Kafka."""

    partition: int
    offset: int
    timestamp_ms: int  # -1 where the broker has none
    timestamp_type: TimestampType
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class _Header(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    name: str
    value: str | UnsetType | None = UNSET
    value_base64: str | UnsetType = UNSET


class _Line(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    partition: int
    offset: int
    timestamp: int
    timestamp_type: TimestampType
    key: str | UnsetType | None = UNSET
    key_base64: str | UnsetType = UNSET
    value: str | UnsetType | None = UNSET
    value_base64: str | UnsetType = UNSET
    headers: list[_Header] = []


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


def encode_line(record: DumpRecord) -> bytes:
    """The record as a line, its newline included."""
    key, key_base64 = _written(record.key)
    value, value_base64 = _written(record.value)
    line = _Line(
        record.partition,
        record.offset,
        record.timestamp_ms,
        record.timestamp_type,
        key,
        key_base64,
        value,
        value_base64,
        [_Header(name, *_written(content)) for name, content in record.headers],
    )
    return _encoder.encode(line) + b"\n"


def decode_line(line: bytes) -> DumpRecord:
    """The record of a line.

    Raises:
        ValueError, msgspec.DecodeError: it is not a line of a dump, and why.
    """
    fields = _decoder.decode(line)
    return DumpRecord(
        fields.partition,
        fields.offset,
        fields.timestamp,
        fields.timestamp_type,
        _read("key", fields.key, fields.key_base64),
        _read("value", fields.value, fields.value_base64),
        tuple((h.name, _read(f"header {h.name}", h.value, h.value_base64)) for h in fields.headers),
    )


def read_dump(path: Path) -> Iterator[DumpRecord]:
    """The records of a dump, one by one; gzip too, told by the file's first bytes.

    Raises:
        DumpError: a line is malformed, or the file is cut short.
        OSError: the file cannot be read.
    """
    number = 0
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            with gzip.GzipFile(fileobj=raw) if packed else raw as file:
                for line in file:
                    number += 1
                    if not line.endswith(b"\n"):
                        raise ValueError("its newline is missing, so the file was cut short")
                    yield decode_line(line)
    except (ValueError, msgspec.DecodeError) as error:
        raise DumpError(_malformed(path, f"line {number}", error)) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DumpError(_malformed(path, f"after line {number}", error)) from None


@contextmanager
def dump_writer(path: Path) -> Iterator[Callable[[DumpRecord], None]]:
    """Writes records to a file that appears under its name only when it is whole.

    Packed with gzip where the name ends in ``.gz``. Equal records give equal files.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as raw:
            with _packed(raw) if path.suffix == ".gz" else nullcontext(raw) as file:
                yield lambda record: _write(file, record)
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _packed(raw: IO[bytes]) -> gzip.GzipFile:
    # Without name and time in the header, and at the level that costs least.
    return gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0)


def _write(file: IO[bytes] | gzip.GzipFile, record: DumpRecord) -> None:
    file.write(encode_line(record))


def _written(content: bytes | None) -> tuple[str | UnsetType | None, str | UnsetType]:
    if content is None:
        return None, UNSET
    try:
        return content.decode("utf-8"), UNSET
    except UnicodeDecodeError:
        return UNSET, base64.b64encode(content).decode("ascii")


def _read(name: str, text: str | UnsetType | None, packed: str | UnsetType) -> bytes | None:
    if isinstance(packed, str) and isinstance(text, UnsetType):
        return base64.b64decode(packed, validate=True)
    if isinstance(text, UnsetType) or isinstance(packed, str):
        raise ValueError(f"it needs either {name} or {name}_base64")
    return None if text is None else text.encode("utf-8")


def _malformed(path: Path, where: str, error: Exception) -> str:
    return f"{path}, {where}: {error}. Expected a file that `clickahead dump` has written."
