"""JSON Lines: a line that is a canonical event already is passed on byte for byte."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from stream_app.files.columns import Columns
from stream_app.files.event import ID_FIELDS, FileEvent
from stream_app.files.presets import Preset
from stream_app.files.rows import event_of, queries_apart


class _Peek(msgspec.Struct):
    """What has to be known of a line to pass it on."""

    user_id: Any = None
    session_id: Any = None
    item_id: Any = None
    event_id: Any = None
    promotion_id: Any = None
    received_at: Any = None


_peek = msgspec.json.Decoder(_Peek).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode
# OverflowError: an integer that JSON can hold and the encoder cannot.
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)


def names_in(head: Iterable[bytes]) -> list[str]:
    """The fields of the objects among the first lines, in the order in which they turn up."""
    names: dict[str, None] = {}
    for line in head:
        try:
            names.update(dict.fromkeys(_object(line)))
        except _BROKEN:
            continue
    return list(names)


def events_of(
    lines: Iterable[bytes], columns: Columns | None, preset: Preset | None, clock: Iterator[int]
) -> Iterator[FileEvent]:
    """An event a line; a line that is no JSON object goes on as it is. ``columns`` is None where
    no line of the head was an object, so that there is nothing to assign."""
    same = columns is None or (
        preset is None
        and not columns.without_time
        and not columns.session_is_user
        and all(field == column for field, column in columns.column_of.items())
    )
    for line in lines:
        line = line.strip()
        if not line:
            continue
        try:
            event = _as_it_is(line) if same else None
            if event is None:
                event = event_of(_renamed(_object(line), columns, preset, clock))
        except _BROKEN:
            event = FileEvent(None, line)
        yield event


def _as_it_is(line: bytes) -> FileEvent | None:
    """The line itself as the event; None when an id in it has to become text first."""
    peek = _peek(line)
    user_id = peek.user_id
    ids = (user_id, peek.session_id, peek.item_id, peek.event_id, peek.promotion_id)
    if peek.received_at is not None or any(type(value) is int for value in ids):
        return None
    return FileEvent(user_id.encode() if type(user_id) is str else None, line)


def _renamed(
    row: dict[str, Any], columns: Columns | None, preset: Preset | None, clock: Iterator[int]
) -> dict[str, Any]:
    value = row
    if columns is not None:
        sources = set(columns.column_of.values())
        value = {name: cell for name, cell in row.items() if name not in sources}
        value |= {f: row[c] for f, c in columns.column_of.items() if row.get(c) is not None}
        if columns.without_time:
            value["timestamp"] = next(clock)
    for field, words in ({} if preset is None else preset.values).items():
        if field in value:
            value[field] = words.get(str(value[field]), value[field])
            if value[field] is None:
                del value[field]
    if preset is not None and preset.items_of is not None:
        queries_apart(value, preset.items_of)
    for field in ID_FIELDS & value.keys():
        if type(value[field]) is int:
            value[field] = str(value[field])
    return value
