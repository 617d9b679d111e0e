"""Events in the order of their time, whatever their number: sorted runs on disk, merged."""

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from stream_app.core.clean import epoch_ms
from stream_app.files.event import FileEvent

RUN_BYTES = 256 << 20
_ROW_BYTES = 400  # what Python's objects around a row take, roughly

_Entry = tuple[int, int, bytes | None, bytes, int]  # time, row, then the event


class _Timed(msgspec.Struct):
    timestamp: int | float | str | None = None


_timed = msgspec.json.Decoder(_Timed).decode
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Entry).decode


def by_time(
    events: Iterable[FileEvent], run_bytes: int = RUN_BYTES, folder: Path | None = None
) -> Iterator[FileEvent]:
    """Sort by (event time, row). A row without a readable time keeps to the row before it.

    Holds about ``run_bytes`` in memory; larger inputs are spilled to ``folder`` (default: the
    system's folder for temporary files) and removed at the end.
    """
    run: list[_Entry] = []
    size = 0
    with tempfile.TemporaryDirectory(prefix="clickahead-sort-", dir=folder) as spill:
        files: list[Path] = []
        for entry in _entries(events):
            run.append(entry)
            size += len(entry[3]) + _ROW_BYTES
            if size >= run_bytes:
                files.append(_spilled(run, Path(spill) / f"{len(files)}"))
                run, size = [], 0
        run.sort()
        for _, _, key, value, received_ms in heapq.merge(*map(_entries_in, files), run):
            yield FileEvent(key, value, received_ms)


def time_of(value: bytes) -> int | None:
    """Event time of an event's JSON in epoch milliseconds, None where it has no readable one."""
    try:
        return epoch_ms(_timed(value).timestamp)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _entries(events: Iterable[FileEvent]) -> Iterator[_Entry]:
    last_ms = 0
    for row, (key, value, received_ms) in enumerate(events):
        at_ms = time_of(value)
        last_ms = last_ms if at_ms is None else at_ms
        yield last_ms, row, key, value, received_ms


def _spilled(run: list[_Entry], path: Path) -> Path:
    run.sort()
    with path.open("wb") as file:
        for entry in run:
            packed = _encode(entry)
            file.write(len(packed).to_bytes(4, "little"))
            file.write(packed)
    return path


def _entries_in(path: Path) -> Iterator[_Entry]:
    with path.open("rb") as file:
        while size := file.read(4):
            yield _decode(file.read(int.from_bytes(size, "little")))
