"""Which column of a file is which field of an event."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from stream_app.files.event import FIELDS, FileError
from stream_app.files.presets import Preset


class Columns(NamedTuple):
    """Field -> column, and what to do about fields that the file does not have."""

    column_of: Mapping[str, str]
    session_is_user: bool  # no user column: every session stands for a user
    without_time: bool  # no timestamp column: times are made up, a second a row


def assign(
    found: Sequence[str], preset: Preset | None, mapping: Mapping[str, str], where: str
) -> Columns:
    """Assign columns: ``mapping`` (column -> field) before the preset before equal names.

    Raises FileError, with the columns that were found, when users or items cannot be told.
    """
    check_mapping(mapping)
    for column in mapping:
        if column not in found:
            raise FileError(f"{where} has no column {column!r} to map; {_listed(found)}")
    column_of = {field: column for column, field in mapping.items()}
    taken = set(mapping)
    for column, field in (preset.columns if preset is not None else {}).items():
        if column in found and column not in taken and field not in column_of:
            column_of[field] = column
            taken.add(column)
    for column in found:
        if column in FIELDS and column not in taken and column not in column_of:
            column_of[column] = column
    for column in column_of.values():
        if found.count(column) > 1:
            raise FileError(f"{where} has {found.count(column)} columns named {column!r}.")
    session_is_user = "user_id" not in column_of and "session_id" in column_of
    if session_is_user:
        column_of["user_id"] = column_of["session_id"]
    missing = [field for field in ("user_id", "item_id") if field not in column_of]
    if missing:
        raise FileError(_missing(missing, found, taken, where))
    return Columns(column_of, session_is_user, "timestamp" not in column_of)


def parse_mapping(arguments: Iterable[str]) -> dict[str, str]:
    """What ``--map column=field`` arguments say, column -> field. Raises FileError."""
    mapping: dict[str, str] = {}
    for argument in arguments:
        column, equals, field = argument.rpartition("=")
        if not equals or not column:
            raise FileError(f"--map {argument} has to be column=field, as in --map sku=item_id.")
        if column in mapping:
            raise FileError(f"--map names column {column!r} twice; choose one field for it.")
        mapping[column] = field
    check_mapping(mapping)
    return mapping


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Raise FileError unless every column goes to a field of its own."""
    for column, field in mapping.items():
        if field not in FIELDS:
            raise FileError(
                f"--map {column}={field} names no field; the fields are {', '.join(FIELDS)}."
            )
    fields = list(mapping.values())
    for field in fields:
        if fields.count(field) > 1:
            raise FileError(f"--map gives {field} to two columns; choose one.")


def _missing(missing: Sequence[str], found: Sequence[str], taken: set[str], where: str) -> str:
    numbers = ""
    if any(column.isdigit() for column in found):
        numbers = " If that is no line of names, use numbers: --map 1=user_id --map 2=item_id."
    free = [column for column in found if column not in taken] or ["COLUMN"]
    examples = []
    for field in missing:
        word = field.removesuffix("_id")
        likely = next((column for column in free if word in column.lower()), free[0])
        examples.append(f"--map {likely}={field}")
    return (
        f"{where} has no column for {' and '.join(missing)}; {_listed(found)}"
        f" Say which it is, for example: {' '.join(examples)}{numbers and '.'}{numbers}"
    )


def _listed(found: Sequence[str]) -> str:
    shown = [name if len(name) <= 40 else name[:37] + "..." for name in found[:30]]
    more = f" and {len(found) - 30} more" if len(found) > 30 else ""
    return f"its columns are {', '.join(shown)}{more}."
