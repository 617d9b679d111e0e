"""``read``: files in, events out."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from stream_app.files import delimited, jsonlines, parquet, rows, sessions
from stream_app.files.columns import Columns, assign, check_mapping
from stream_app.files.event import FileError, FileEvent
from stream_app.files.ordering import by_time
from stream_app.files.presets import PRESETS, Preset, fits, likeliest, matching
from stream_app.files.source import Advance, Source, inspect, stream_lines

Progress = Callable[[int, int], None]
Notice = Callable[[str], None]

_AS_NAMED: Mapping[str, str] = MappingProxyType({})


class _Opened(NamedTuple):
    """A file with everything decided about it that its beginning can tell."""

    source: Source
    preset: Preset | None
    delimiter: str
    names: Sequence[str]  # of the columns, in their order
    has_header: bool
    columns: Columns | None  # None where lines are not rows of columns


def read(
    paths: Iterable[Path | str],
    *,
    preset: str | None = None,
    mapping: Mapping[str, str] = _AS_NAMED,
    sort: bool | None = None,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> Iterator[FileEvent]:
    """Events of CSV, TSV, JSON Lines and Parquet files, plain or gzipped, one file after another.

    ``preset`` names one of ``PRESETS``; without it a file's columns or shape choose one where only
    one fits, and ``notice`` is told. ``mapping`` names columns (column -> field); numbers, counted
    from 1, name those of a file without a header line. ``sort`` orders all events by time (None:
    where the preset says that such files are not in order). ``progress`` is told bytes done and
    bytes in all. Rows are not judged: what a producer would send is what comes out, and a line
    that is no row comes out as its bytes. Memory does not grow with the files.

    Raises FileError, before anything is read, for a file whose columns cannot be told.
    """
    opened = [_open(Path(path), preset, mapping, notice) for path in paths]
    if sort is None:
        sort = any(one.preset is not None and one.preset.sort for one in opened)
    total_bytes = sum(one.source.size_bytes for one in opened)
    clock = itertools.count(rows.START_MS, rows.STEP_MS)
    numbers = itertools.count(1)

    def every() -> Iterator[FileEvent]:
        before = 0
        for one in opened:
            advance = _advance(progress, before, total_bytes)
            yield from _events(one, clock, numbers, advance)
            before += one.source.size_bytes

    return by_time(every()) if sort else every()


def _advance(progress: Progress | None, before: int, total_bytes: int) -> Advance:
    def advance(done_bytes: int) -> None:
        if progress is not None:
            progress(before + done_bytes, total_bytes)

    return advance


def _open(
    path: Path, preset_name: str | None, mapping: Mapping[str, str], notice: Notice | None
) -> _Opened:
    check_mapping(mapping)
    source = inspect(path)
    head = [line.decode(errors="replace") for line in source.head if line.strip()]
    delimiter = "" if not head else delimited.delimiter_of(head[0], path.name)
    names: Sequence[str] = _names(source, head, delimiter)
    preset = _preset(source, head, names, preset_name, mapping, notice)
    if preset is not None and preset.layout != "rows":
        if mapping:
            raise FileError(f"--map has no use with {path}: {preset.about}.")
        return _Opened(source, preset, delimiter, (), False, None)
    has_header = source.kind == "text"
    if has_header and _by_number(mapping, names):
        names, has_header = [str(n) for n in range(1, len(names) + 1)], False
    elif has_header and preset is not None and preset.header:
        names, has_header = preset.header, False
    if not names and head and source.kind == "text":
        raise FileError(f"{path} begins with no line of column names, and no preset fits it.")
    if not names and source.kind != "parquet":
        return _Opened(source, preset, delimiter, (), has_header, None)
    columns = assign(names, preset, mapping, str(path))
    return _Opened(source, preset, delimiter, names, has_header, columns)


def _names(source: Source, head: Sequence[str], delimiter: str) -> list[str]:
    if source.kind == "parquet":
        return parquet.names_in(source.path)
    if source.kind == "json":
        return jsonlines.names_in(source.head)
    first = delimited.split(head[0].rstrip("\r"), delimiter) if head else []
    return [name.strip() for name in first or []]


def _by_number(mapping: Mapping[str, str], names: Sequence[str]) -> bool:
    return bool(mapping) and all(c.isdigit() and c not in names for c in mapping)


def _preset(
    source: Source,
    head: Sequence[str],
    names: Sequence[str],
    name: str | None,
    mapping: Mapping[str, str],
    notice: Notice | None,
) -> Preset | None:
    shaped = head if source.kind == "text" else ()
    if name is not None:
        if name not in PRESETS:
            raise FileError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
        forms = PRESETS[name]
        return next((form for form in forms if fits(form, shaped)), forms[0])
    if mapping:
        return None
    found = likeliest(matching(shaped, names), shaped)
    if len(found) > 1:
        ways = "; ".join(f"--preset {form.name}: {form.about}" for form in found)
        raise FileError(f"{source.path} can be read in {len(found)} ways; choose one. {ways}.")
    if found and notice is not None:
        notice(f"{source.path}: read with preset {found[0].name} ({found[0].about})")
    return found[0] if found else None


def _events(
    opened: _Opened, clock: Iterator[int], numbers: Iterator[int], advance: Advance
) -> Iterator[FileEvent]:
    source, preset, delimiter, names, has_header, columns = opened
    if source.kind == "parquet" and columns is not None:
        wanted = list(dict.fromkeys(columns.column_of.values()))
        table = parquet.rows(source.path, wanted, source.size_bytes, advance)
        return rows.events_of(table, wanted, columns, preset, clock)
    lines = stream_lines(source, advance)
    if source.kind == "json":
        return jsonlines.events_of(lines, columns, preset, clock)
    if columns is None:
        if preset is None:
            return iter(())
        return sessions.session_events(_sessions(preset, lines, source.path), numbers, clock)
    records = delimited.records(lines, delimiter, len(names))
    return rows.events_of(
        itertools.islice(records, int(has_header), None), names, columns, preset, clock
    )


def _sessions(
    preset: Preset, lines: Iterator[bytes], path: Path
) -> Iterator[sessions.Session | bytes]:
    match preset.layout:
        case "prefixes":
            return sessions.prefix_lines(lines, str(path))
        case "users":
            return sessions.user_lines(lines)
        case _:
            return sessions.session_lines(lines)
