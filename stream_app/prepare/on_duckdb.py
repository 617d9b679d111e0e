"""One machine: DuckDB, which spills what does not fit into memory."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from stream_app.prepare.backend import Report, done_or
from stream_app.prepare.clicks import BATCH_ROWS, Piece, Reading, cleaned_clicks
from stream_app.prepare.columns import CLICKS, ORDER, folded
from stream_app.prepare.expressions import Table
from stream_app.prepare.fold import Folding, fold


class OnDuckDB:
    """A backend on this machine. ``memory_mib`` bounds what DuckDB holds; the rest goes to files
    in ``spill``."""

    name = "duckdb"

    def __init__(self, memory_mib: int, spill: Path) -> None:
        spill.mkdir(parents=True, exist_ok=True)
        self._connection = ibis.duckdb.connect(
            memory_limit=f"{memory_mib}MiB", temp_directory=str(spill)
        )
        self._connection.raw_sql("SET enable_progress_bar = false")

    def clean(self, pieces: Sequence[Piece], reading: Reading, out: Path, report: Report) -> None:
        sizes = [sum(Path(path).stat().st_size for path in piece.paths) for piece in pieces]

        def write(folder: Path) -> None:
            folder.mkdir()
            for number, piece in enumerate(pieces):
                tell = partial(_tell, report, sum(sizes[:number]), sum(sizes))
                batches = cleaned_clicks(piece, reading, tell)
                _write(folder / f"{number:06d}.parquet", CLICKS, batches)

        done_or(out, write)

    def fold(
        self, events: Table, folding: Folding, buckets: int, out: Path, report: Report
    ) -> None:
        schema = folded(folding.spec.features)
        # What a run that was killed has finished is kept: a bucket is a file of its own.
        parts = out.with_name(out.name + ".buckets")
        if out.exists():
            return
        parts.mkdir(exist_ok=True)
        for bucket in range(buckets):
            path = parts / f"{bucket:06d}.parquet"
            if not path.exists():
                inside = events.filter(events.slot % buckets == bucket).order_by(*ORDER)
                query = self._connection.con.sql(self._connection.compile(inside))
                clicks = query.to_arrow_reader(BATCH_ROWS)
                begun = path.with_suffix(".partial")
                _write(begun, schema, fold(clicks, folding))
                begun.rename(path)
            report(bucket + 1, buckets)
        parts.rename(out)

    def table(self, folder: Path) -> Table:
        return self._connection.read_parquet(
            str(folder / "**" / "*.parquet"), hive_partitioning=True, hive_types_autocast=False
        )

    def save(self, table: Table, out: Path, *, parts: Sequence[str] = ()) -> None:
        def write(folder: Path) -> None:
            if not parts:
                folder.mkdir()
                self._connection.to_parquet(table, folder / "part.parquet")
                return
            query = self._connection.compile(table.order_by(*parts, *ORDER))
            target = str(folder).replace("'", "''")
            self._connection.raw_sql(
                f"COPY ({query}) TO '{target}'"
                f" (FORMAT parquet, PARTITION_BY ({', '.join(parts)}), COMPRESSION zstd)"
            )

        done_or(out, write)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        found = self._connection.con.sql(self._connection.compile(table)).to_arrow_table()
        return list(found.to_pylist())

    def close(self) -> None:
        self._connection.disconnect()


def _write(path: Path, schema: pa.Schema, batches: Any) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _tell(report: Report, before: int, total: int, done: int, _: int) -> None:
    report(before + done, total)
