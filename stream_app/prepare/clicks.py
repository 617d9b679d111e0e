"""Files to cleaned clicks: read as for Kafka, judged by the worker's core, laid out as Arrow."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa

from stream_app.core.clean import Click, Heartbeat, epoch_ms, reader
from stream_app.core.config import CoreConfig
from stream_app.files import read
from stream_app.files.rows import START_MS
from stream_app.prepare.columns import CLICKS, SLOTS

BATCH_ROWS = 32_768
Notice = Callable[[str], None]
Progress = Callable[[int, int], None]


class Reading(msgspec.Struct, frozen=True):
    """How files become records, and records clicks."""

    preset: str | None
    mapping: Mapping[str, str]
    core: CoreConfig


class Piece(msgspec.Struct, frozen=True):
    """Files that are read one after another, by one process."""

    source: int
    paths: tuple[str, ...]
    is_untimed: bool = False


class _Timed(msgspec.Struct):
    timestamp: int | float | str | None = None


def pieces_of(paths: Sequence[Path], reading: Reading, notice: Notice) -> tuple[Piece, ...]:
    """A piece a file; files without times are one together, since their times are made up by
    counting on from file to file. Raises FileError for a file that cannot be read as clicks."""
    untimed: list[str] = []
    groups: list[list[str]] = []
    for path in paths:
        if not _is_untimed(path, reading, notice):
            groups.append([str(path)])
            continue
        if not untimed:
            groups.append(untimed)
        untimed.append(str(path))
    return tuple(
        Piece(number, tuple(group), group is untimed) for number, group in enumerate(groups)
    )


def _is_untimed(path: Path, reading: Reading, notice: Notice) -> bool:
    events = read([path], preset=reading.preset, mapping=reading.mapping, sort=False, notice=notice)
    for event in events:
        try:
            return epoch_ms(msgspec.json.decode(event.value, type=_Timed).timestamp) == START_MS
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return False


def cleaned_clicks(
    piece: Piece, reading: Reading, progress: Progress | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows of ``columns.CLICKS``: a click, or a rejected record with nothing but its reason."""
    clean = reader(reading.core)
    rows: list[tuple[object, ...]] = []
    events = read(
        piece.paths,
        preset=reading.preset,
        mapping=reading.mapping,
        sort=False,
        progress=progress,
    )
    for number, event in enumerate(events):
        found = clean(event.key, event.value, event.received_at_ms)
        if isinstance(found, Heartbeat):
            continue
        rows.append(
            _click_row(piece.source, number, found)
            if isinstance(found, Click)
            else (piece.source, number, *(None,) * 8, found.reason)
        )
        if len(rows) == BATCH_ROWS:
            yield _batch(rows)
            rows = []
    if rows:
        yield _batch(rows)


def _click_row(source: int, number: int, click: Click) -> tuple[object, ...]:
    return (
        source,
        number,
        zlib.crc32(click.user_id.encode()) % SLOTS,
        click.at_ms,
        click.user_id,
        click.event_id,
        click.session_id,
        click.item_id,
        click.action,
        click.dwell_ms,
        None,
    )


def _batch(rows: Iterable[tuple[object, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(c, field.type) for c, field in zip(columns, CLICKS, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=CLICKS)
