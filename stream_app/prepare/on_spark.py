"""Many machines: Apache Spark. Executors need this package, and see the same folders."""

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ibis
import msgspec
import pyarrow as pa

from stream_app.prepare.backend import Report, done_or
from stream_app.prepare.clicks import Piece, Reading, cleaned_clicks
from stream_app.prepare.columns import CLICKS, ORDER, folded
from stream_app.prepare.config import PrepareError
from stream_app.prepare.expressions import Table
from stream_app.prepare.fold import Folding, fold
from stream_app.prepare.java import java_home

Batches = Iterable[pa.RecordBatch]

# What the wheel's Java warns of, and Spark does.
_JAVA_OPTIONS = "--sun-misc-unsafe-memory-access=allow --enable-native-access=ALL-UNNAMED"
_SPARK_TYPES = {
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
}


class OnSpark:
    """A backend on a Spark session."""

    name = "spark"

    def __init__(self, session: Any) -> None:
        self._session = session
        self._connection = ibis.pyspark.connect(session)

    def clean(self, pieces: Sequence[Piece], reading: Reading, out: Path, report: Report) -> None:
        # A row a piece; each is read by one task.
        rows = [(piece.source, json.dumps(piece.paths)) for piece in pieces]
        report(0, 1)

        def write(folder: Path) -> None:
            frame = self._session.createDataFrame(rows, "source int, paths string")
            spread = frame.repartitionByRange(len(rows), "source")
            read = spread.mapInArrow(_reads(reading), _ddl(CLICKS))
            read.write.option("compression", "zstd").parquet(str(folder))

        done_or(out, write)
        report(1, 1)

    def fold(
        self, events: Table, folding: Folding, buckets: int, out: Path, report: Report
    ) -> None:
        report(0, 1)
        schema = folded(folding.spec.features)

        def write(folder: Path) -> None:
            frame = self._session.sql(self._connection.compile(events))
            users = frame.repartition(max(buckets, self._slots()), "slot")
            made = users.sortWithinPartitions(*ORDER).mapInArrow(_folds(folding), _ddl(schema))
            made.write.option("compression", "zstd").parquet(str(folder))

        done_or(out, write)
        report(1, 1)

    def table(self, folder: Path) -> Table:
        return self._connection.read_parquet(str(folder))

    def save(self, table: Table, out: Path, *, parts: Sequence[str] = ()) -> None:
        def write(folder: Path) -> None:
            frame = self._session.sql(self._connection.compile(table))
            if parts:
                frame = frame.repartition(*parts).sortWithinPartitions(*parts, *ORDER)
            writer = frame.write.option("compression", "zstd")
            (writer.partitionBy(*parts) if parts else writer).parquet(str(folder))

        done_or(out, write)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        found = self._session.sql(self._connection.compile(table)).collect()
        return [row.asDict() for row in found]

    def close(self) -> None:
        self._session.stop()

    def _slots(self) -> int:
        return int(self._session.sparkContext.defaultParallelism)


def open_spark(master: str, environ: Mapping[str, str]) -> OnSpark:
    """A backend on a session of its own. Raises PrepareError where Spark does not start."""
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise PrepareError(
            "--backend spark needs PySpark; install it: pip install 'clickahead[spark]'"
        ) from error
    home = java_home(environ, Path(tempfile.mkdtemp(prefix="clickahead-java-")))
    os.environ["JAVA_HOME"] = str(home)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # PySpark warns of the newest pandas, which nothing here goes through.
    warnings.filterwarnings("ignore", category=FutureWarning, module="pyspark")
    builder = (
        SparkSession.builder.master(master)
        .appName("clickahead prepare")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
    )
    if master.startswith("local"):
        # A machine that cannot reach itself by its own name runs Spark nevertheless.
        builder = builder.config("spark.driver.host", "127.0.0.1")
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
        builder = builder.config("spark.sql.shuffle.partitions", "4")
    if "JAVA_HOME" not in environ:
        builder = builder.config("spark.driver.extraJavaOptions", _JAVA_OPTIONS)
    try:
        session = builder.getOrCreate()
    except Exception as error:
        raise PrepareError(
            f"Spark did not start on {master} with the Java in {home}: {error}. Set JAVA_HOME to a"
            " JDK 17 or later, and check --master."
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    return OnSpark(session)


def _reads(reading: Reading) -> Callable[[Batches], Iterator[pa.RecordBatch]]:
    packed = msgspec.msgpack.encode(reading)

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        told = msgspec.msgpack.decode(packed, type=Reading)
        for batch in batches:
            for row in batch.to_pylist():
                yield from cleaned_clicks(Piece(row["source"], (*json.loads(row["paths"]),)), told)

    return run


def _folds(folding: Folding) -> Callable[[Batches], Iterator[pa.RecordBatch]]:
    packed = msgspec.msgpack.encode(folding)

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        yield from fold(batches, msgspec.msgpack.decode(packed, type=Folding))

    return run


def _ddl(schema: pa.Schema) -> str:
    return ", ".join(f"`{field.name}` {_SPARK_TYPES[field.type]}" for field in schema)
