"""Parquet, through DuckDB: the assigned columns alone, in the order of the file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from stream_app.files.event import FileError
from stream_app.files.source import Advance

ROWS = 8192


def names_in(path: Path) -> list[str]:
    """The column names of a Parquet file."""
    with _connection() as connection:
        return [name for name, _ in _types(connection, path)]


def rows(
    path: Path, names: Sequence[str], size_bytes: int, advance: Advance
) -> Iterator[Sequence[Any]]:
    """Rows of the named columns. Points in time are epoch milliseconds, decimals floats."""
    with _connection() as connection:
        types = dict(_types(connection, path))
        wanted = ", ".join(_expression(name, types[name]) for name in names)
        try:
            count = connection.execute(
                "SELECT count(*) FROM read_parquet(?)", [str(path)]
            ).fetchone()
            total = max(1, count[0] if count else 0)
            # The columns are quoted by _quoted; the path is a parameter.
            result = connection.execute(
                f"SELECT {wanted} FROM read_parquet(?, binary_as_string => true)",  # noqa: S608
                [str(path)],
            )
            done = 0
            while batch := result.fetchmany(ROWS):
                done += len(batch)
                advance(size_bytes * done // total)
                yield from batch
        except duckdb.Error as error:
            raise _unreadable(path, error) from error


def _connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.execute("SET enable_progress_bar = false")
    # Without a zone a timestamp means UTC everywhere here.
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _types(connection: duckdb.DuckDBPyConnection, path: Path) -> list[tuple[str, str]]:
    try:
        described = connection.execute(
            "DESCRIBE SELECT * FROM read_parquet(?, binary_as_string => true)", [str(path)]
        ).fetchall()
    except duckdb.Error as error:
        raise _unreadable(path, error) from error
    return [(str(row[0]), str(row[1])) for row in described]


def _expression(name: str, kind: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"epoch_ms(CAST({column} AS TIMESTAMP))"
    if kind.startswith("DECIMAL"):
        return f"CAST({column} AS DOUBLE)"
    if kind in ("HUGEINT", "UHUGEINT", "UUID"):
        return f"CAST({column} AS VARCHAR)"
    return column


def _unreadable(path: Path, error: duckdb.Error) -> FileError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return FileError(f"{path} cannot be read as Parquet: {first}")
