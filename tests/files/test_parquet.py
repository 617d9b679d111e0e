from pathlib import Path
from typing import Any

import duckdb
import pytest

from stream_app.files.event import FileError
from stream_app.files.parquet import ROWS, names_in, rows


def write(path: Path, query: str) -> Path:
    target = str(path).replace("'", "''")
    duckdb.connect().execute(f"COPY ({query}) TO '{target}' (FORMAT parquet)")
    return path


def read(path: Path, names: list[str]) -> list[Any]:
    return list(rows(path, names, 100, lambda _: None))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("TIMESTAMP '2023-11-14 22:13:20.5'", 1_700_000_000_500),
        ("TIMESTAMPTZ '2023-11-14 23:13:20+01'", 1_700_000_000_000),
        ("TIMESTAMP_NS '2023-11-14 22:13:20'", 1_700_000_000_000),
        ("TIMESTAMP_S '2023-11-14 22:13:20'", 1_700_000_000_000),
        ("DATE '2023-11-14'", 1_699_920_000_000),
        ("'2023-11-14T22:13:20Z'", "2023-11-14T22:13:20Z"),
        ("12.50::DECIMAL(9,2)", 12.5),
        ("7::HUGEINT", 7.0),  # Parquet has no such integer: DuckDB writes a double
        ("7::UBIGINT", 7),
        ("'abc'::BLOB", "abc"),
        ("NULL::INTEGER", None),
        ("[1, 2]", [1, 2]),
    ],
)
def test_values_are_those_of_json(tmp_path: Path, sql: str, expected: object) -> None:
    path = write(tmp_path / "a.parquet", f"SELECT {sql} AS x")
    assert read(path, ["x"]) == [(expected,)]


def test_rows_keep_their_order_and_progress_ends_at_the_size(tmp_path: Path) -> None:
    count = 3 * ROWS + 1
    query = f"SELECT range AS n, 0 AS other FROM range({count})"  # noqa: S608
    path = write(tmp_path / "it's [1].parquet", query)
    told: list[int] = []
    assert list(rows(path, ["n"], 100, told.append)) == [(n,) for n in range(count)]
    assert told == sorted(told)
    assert told[-1] == 100


def test_names_may_hold_anything(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 'SELECT 1 AS "a ""b", 2 AS "select"')
    assert names_in(path) == ['a "b', "select"]
    assert read(path, ['a "b']) == [(1,)]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(FileError, match=r"a\.parquet cannot be read as Parquet"):
        names_in(path)
