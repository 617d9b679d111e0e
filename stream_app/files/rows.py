"""A row of a table as an event."""

from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from typing import Any

import msgspec

from stream_app.core.clean import epoch_ms
from stream_app.files.columns import Columns
from stream_app.files.event import ID_FIELDS, NUMBER_FIELDS, RECEIVED_AT, FileEvent
from stream_app.files.presets import Preset

Convert = Callable[[Any], Any]

START_MS = 1_577_836_800_000  # 2020-01-01: the first made-up time of files without timestamps
STEP_MS = 1_000

_encode = msgspec.json.Encoder(enc_hook=str).encode


def events_of(
    rows: Iterator[Sequence[Any] | bytes],
    names: Sequence[str],
    columns: Columns,
    preset: Preset | None,
    clock: Iterator[int],
) -> Iterator[FileEvent]:
    """Rows (text, or values of Parquet) as events. Bytes are lines that are no row: they go on as
    they are. Empty text and None are absent values; nothing else is judged here."""
    cells = [
        (names.index(column), field, _converter(field, preset))
        for field, column in columns.column_of.items()
    ]
    items_of = None if preset is None else preset.items_of
    for row in rows:
        if isinstance(row, bytes):
            yield FileEvent(None, row)
            continue
        value: dict[str, Any] = {}
        for index, field, convert in cells:
            cell = row[index]
            if cell is None or cell == "":
                continue
            if convert is not None:
                cell = convert(cell)
                if cell is None:
                    continue
            value[field] = cell
        if items_of is not None:
            queries_apart(value, items_of)
        if columns.without_time:
            value["timestamp"] = next(clock)
        yield event_of(value)


def event_of(value: dict[str, Any]) -> FileEvent:
    """The event of canonical fields; a ``received_at`` among them becomes its arrival."""
    received_ms = -1
    if RECEIVED_AT in value:
        arrival = value.pop(RECEIVED_AT)
        at_ms = epoch_ms(arrival) if isinstance(arrival, str | int | float) else None
        received_ms = -1 if at_ms is None else at_ms
    user_id = value.get("user_id")
    key = user_id.encode() if isinstance(user_id, str) else None
    return FileEvent(key, _encode(value), received_ms)


def queries_apart(value: dict[str, Any], items_of: frozenset[str]) -> None:
    """Move what stands in place of the item to ``query`` in events of other types than those."""
    if "item_id" in value and value.get("event_type") not in items_of:
        value["query"] = value.pop("item_id")


def number(cell: Any) -> Any:
    """Text that is a finite number as that number; anything else as it is, but for what JSON has
    no number for: NaN is a missing value, an infinity its name, which the stream refuses."""
    if isinstance(cell, float) and not isfinite(cell):
        return None if cell != cell else str(cell)
    if not isinstance(cell, str) or not cell.isascii() or "_" in cell:
        return cell
    if cell.isdigit() and len(cell) < 19:
        return int(cell)
    try:
        real = float(cell)
    except ValueError:
        return cell
    return real if isfinite(real) else cell


def identifier(cell: Any) -> Any:
    """A number as the text of an id. A float without a fraction counts as the integer that it was
    before a missing value made its column one of floats; NaN is that missing value."""
    if isinstance(cell, float):
        if cell != cell:
            return None
        return str(int(cell)) if cell.is_integer() else cell
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    return cell


def _converter(field: str, preset: Preset | None) -> Convert | None:
    words = {} if preset is None else preset.values.get(field, {})
    if words:
        return lambda cell: words.get(str(cell), cell)
    if field in NUMBER_FIELDS:
        return number
    return identifier if field in ID_FIELDS else None
