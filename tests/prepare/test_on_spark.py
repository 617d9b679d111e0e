"""Spark makes of a log what DuckDB makes of it: every table, and every number."""

from pathlib import Path

import pytest

from stream_app.prepare.clicks import Reading
from stream_app.prepare.config import PrepareConfig, SplitKind
from stream_app.prepare.java import java_home
from stream_app.prepare.manifest import inputs_of
from stream_app.prepare.pipeline import Request, finish, run
from tests.prepare.logs import seeded, write_csv
from tests.prepare.test_pipeline import CORE, events_in, prepare

pytest.importorskip("pyspark")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_spark_and_duckdb_agree(tmp_path: Path) -> None:
    from stream_app.prepare.on_spark import open_spark

    rows = seeded(400)
    rows[150] = rows[150]._replace(after_s=40 * 86_400)
    path = write_csv(tmp_path / "log.csv", rows)
    backend = open_spark("local[2]", {})
    try:
        for split, core in ((SplitKind.last_share, 3), (SplitKind.leave_one_out, 1)):
            one = prepare(path, tmp_path / f"{split}-duckdb", split=split, item_core=core)
            request = Request(
                (path,),
                Reading(None, {}, CORE),
                PrepareConfig(split=split, item_core=core),
                tmp_path / f"{split}-spark",
            )
            inputs = inputs_of([path], lambda done, total: None)
            other = run(request, inputs, backend, lambda *told: None, lambda text: None)
            finish(request, other)
            assert other.summary == one.summary
            assert other.statistics == one.statistics
            assert other.manifest.cuts == one.manifest.cuts
            assert events_in(tmp_path / f"{split}-spark") == events_in(tmp_path / f"{split}-duckdb")
    finally:
        backend.close()


def test_the_java_that_is_named_is_taken_else_the_wheels(tmp_path: Path) -> None:
    assert java_home({"JAVA_HOME": "/opt/some-jdk"}, tmp_path) == Path("/opt/some-jdk")
    program = java_home({}, tmp_path) / "bin" / "java"
    assert program.stat().st_mode & 0o100
    assert "exec" in program.read_text()
