"""Laws of a prepared folder, on random logs; and that it trains to what its file trains to."""

import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings

from stream_app.core.config import CoreConfig
from stream_app.files import read
from stream_app.prepare.clicks import Reading
from stream_app.prepare.config import SPLITS, PrepareConfig, PrepareError, SplitKind
from stream_app.prepare.manifest import inputs_of, read_manifest
from stream_app.prepare.on_duckdb import OnDuckDB
from stream_app.prepare.pipeline import Prepared, Request, finish, run
from stream_app.profile import profile
from stream_app.sequences import LogError, ShapeConfig, build_log, cleaned, shape
from tests.prepare.logs import Row, logs, seeded, write_csv

# Ibis asks DuckDB for a table by a name that DuckDB has given up.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

CORE = CoreConfig(pseudonym_key=bytes(16))
FEW = settings(deadline=None, max_examples=8)
ORDER = "at_ms, source, row"


def prepare(path: Path, out: Path, **config: Any) -> Prepared:
    request = Request((path,), Reading(None, {}, CORE), PrepareConfig(**config), out)
    backend = OnDuckDB(256, out / ".work" / "spill")
    inputs = inputs_of([path], lambda done, total: None)
    try:
        made = run(request, inputs, backend, lambda *told: None, lambda text: None)
    finally:
        backend.close()
    finish(request, made)
    return made


def events_in(folder: Path, columns: str = "*", order: str = ORDER) -> list[tuple[Any, ...]]:
    query = f"SELECT {columns} FROM '{folder}/events/*/*/*.parquet' ORDER BY {order}"  # noqa: S608
    return duckdb.sql(query).fetchall()


@FEW
@given(rows=logs(least=3))
def test_a_k_core_is_a_fixpoint_and_a_split_parts_the_log(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_csv(folder / "log.csv", rows)
        try:
            prepare(path, folder / "out", split=SplitKind.last_share, user_core=2, item_core=2)
        except (PrepareError, LogError):
            assert read_manifest(folder / "out") is None
            return
        found = events_in(folder / "out", "user_id, item_id, split, at_ms, row")
    users = [user for user, item, *_ in found if item is not None]
    items = [item for _, item, *_ in found if item is not None]
    assert all(users.count(user) >= 2 for user, *_ in found)
    assert all(items.count(item) >= 2 for item in items)
    assert {row for *_, row in found} == core_of(rows, 2)
    assert len({row for *_, row in found}) == len(found)
    times = {part: [row[3] for row in found if row[2] == part] for part in SPLITS}
    assert max(times["train"]) < min(times["validation"])
    assert max(times["validation"]) < min(times["test"])


def core_of(rows: list[Row], least: int) -> set[int]:
    """The k-core by taking away one user or item at a time."""
    kept = dict(enumerate(rows))
    while True:
        with_item = [row for row in kept.values() if row.item]
        users = [row.user for row in with_item]
        items = [row.item for row in with_item]
        bad = next(
            (
                number
                for number, row in kept.items()
                if users.count(row.user) < least or (row.item and items.count(row.item) < least)
            ),
            None,
        )
        if bad is None:
            return set(kept)
        gone = kept[bad]
        if users.count(gone.user) < least:
            kept = {n: row for n, row in kept.items() if row.user != gone.user}
        else:
            kept = {n: row for n, row in kept.items() if row.item != gone.item}


@FEW
@given(rows=logs(least=3))
def test_leave_one_out_keeps_each_users_order(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_csv(folder / "log.csv", rows)
        try:
            prepare(path, folder / "out", split=SplitKind.leave_one_out)
        except (PrepareError, LogError):
            return
        found = events_in(folder / "out", "user_id, item_id, split")
    assert len(found) == len(rows)
    for user in {user for user, *_ in found}:
        parts = [(part, item) for name, item, part in found if name == user]
        order = [("train", "validation", "test").index(part) for part, _ in parts]
        assert order == sorted(order)
        bearing = [part for part, item in parts if item is not None]
        asked = ["validation", "test"] if len(bearing) >= 3 else []
        assert [part for part in bearing if part != "train"] == asked


@pytest.mark.parametrize("buckets", [1, 3])
def test_sessions_and_features_are_those_that_training_reads(
    tmp_path: Path, buckets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = seeded(600)
    rows[300] = rows[300]._replace(after_s=40 * 86_400)  # some users are forgotten
    path = write_csv(tmp_path / "log.csv", rows)
    monkeypatch.setattr("stream_app.prepare.pipeline.USERS_PER_BUCKET", -(-23 // buckets))
    made = prepare(path, tmp_path / "out", split=SplitKind.last_share)
    spec, items = shape(profile(cleaned(read([path]), CORE)), ShapeConfig())
    log = build_log(read([path], sort=True), spec, items, CORE)
    assert made.manifest.features == spec.features
    columns = ", ".join(("user_id", "session", "at_ms", *(f'"{f}"' for f in spec.features)))
    found = events_in(tmp_path / "out", columns, "user_id, at_ms, source, row")
    firsts = log.session_start[log.user_start]
    mine = {}
    for begin, end in pairwise(firsts.tolist()):
        starts = np.isin(np.arange(begin, end), log.session_start)
        mine[tuple(log.at_ms[begin:end])] = (np.cumsum(starts).tolist(), log.dense[begin:end])
    for user in {row[0] for row in found}:
        own = [row for row in found if row[0] == user]
        sessions, dense = mine[tuple(row[2] for row in own)]
        assert [row[1] for row in own] == sessions
        assert np.array_equal(np.array([row[3:] for row in own], np.float32), dense)


def test_a_killed_run_goes_on_to_the_same_folder(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", seeded(300))
    whole = prepare(path, tmp_path / "whole", split=SplitKind.last_share)

    class Killed(Exception):
        pass

    request = Request((path,), Reading(None, {}, CORE), whole.manifest.config, tmp_path / "killed")

    def stop(what: str, done: int, total: int) -> None:
        if what == "writing":
            raise Killed

    backend = OnDuckDB(256, tmp_path / "spill")
    with pytest.raises(Killed):
        run(request, whole.manifest.inputs, backend, stop, lambda text: None)
    backend.close()
    assert read_manifest(tmp_path / "killed") is None
    clicks = next((tmp_path / "killed" / ".work").glob("*/clicks"))
    before = clicks.stat().st_mtime_ns
    shutil.copy(path, tmp_path / "same.csv")
    again = prepare(tmp_path / "same.csv", tmp_path / "killed", split=SplitKind.last_share)
    assert before > 0
    assert again.summary == whole.summary
    assert again.statistics == whole.statistics
    assert events_in(tmp_path / "killed") == events_in(tmp_path / "whole")
    assert not (tmp_path / "killed" / ".work").exists()
