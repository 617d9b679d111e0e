"""Sessions, behaviour and time features of clicks, by the worker's own core.

The core runs over the users of a bucket as a worker runs over a partition. What a partition's clock
decides, which idle users leave, it decides by the whole log's clock: the first time of each hour
of the log is played to every bucket, so that neither the number of buckets nor who computes them
shows.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from math import log1p

import msgspec
import numpy as np
import pyarrow as pa

from model.spec import ModelSpec, Vocabulary
from stream_app.core.admit import EXPIRY_BUCKET_MS, Admission
from stream_app.core.clean import Cleaned, Click, Heartbeat
from stream_app.core.config import CoreConfig
from stream_app.core.rounds import advance
from stream_app.core.store import PartitionStore
from stream_app.prepare.columns import folded
from stream_app.sequences import Silent, batches

TICK_MS = EXPIRY_BUCKET_MS
NO_ITEMS = ("0", "1")  # features look at items' hashes: no vocabulary has to travel
Row = dict[str, object]


class Folding(msgspec.Struct, frozen=True):
    """What the core has to know of a log: its actions and features, and its clock."""

    spec: ModelSpec
    core: CoreConfig
    ticks_ms: tuple[int, ...]  # the first time of each hour that the log has events in


def fold(clicks: Iterable[pa.RecordBatch], folding: Folding) -> Iterator[pa.RecordBatch]:
    """Clicks in the order ``columns.ORDER`` with the core's columns; repeated ids are left out.

    All of a user's clicks have to be there. Memory grows with the users, not with the clicks.
    """
    spec = folding.spec
    schema = folded(spec.features)
    engine = Silent(spec, Vocabulary(NO_ITEMS, spec.cold_buckets))
    store = PartitionStore(0, engine, folding.core)
    rows: deque[Row | None] = deque()
    sessions: dict[str, int] = {}
    for batch, part in batches(_played(clicks, folding.ticks_ms, rows)):
        origin = [rows.popleft() for _ in part]
        done = 0
        while done < len(part):
            admission = Admission(batch, part, store, engine)
            done = admission.run(done)
            results = advance(admission.steps, store, engine)
            steps = admission.steps
            if len(steps):
                found = []
                for number in range(len(steps)):
                    step = steps[number]
                    row = origin[step.batch_row]
                    assert row is not None  # noqa: S101 (heartbeats make no steps)
                    user = str(row["user_id"])
                    sessions[user] = sessions.get(user, 0) + step.starts
                    found.append(_folded_row(row, sessions[user], step.position, step.gap_ms))
                yield _batch(found, results.dense[: len(steps)], schema)
        store.take_changes()


def _played(
    clicks: Iterable[pa.RecordBatch], ticks_ms: tuple[int, ...], rows: "deque[Row | None]"
) -> Iterator[Cleaned]:
    """Clicks with the log's clock between them; ``rows`` gets what each was made of."""
    tick = 0
    for batch in clicks:
        for row in batch.to_pylist():
            while tick < len(ticks_ms) and ticks_ms[tick] <= row["at_ms"]:
                rows.append(None)
                yield Heartbeat(ticks_ms[tick])
                tick += 1
            rows.append(row)
            yield Click(
                row["user_id"],
                row["event_id"],
                row["session_id"],
                row["item_id"],
                row["event_type"],
                row["at_ms"],
                row["dwell_ms"],
            )


def _folded_row(row: Row, session: int, position: int, gap_ms: int) -> Row:
    at_ms, dwell_ms = row["at_ms"], row["dwell_ms"]
    assert isinstance(at_ms, int)  # noqa: S101
    return {
        **row,
        "timestamp": at_ms / 1000,
        "day": datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d"),
        "session": session,
        "position": position,
        "gap_ms": None if gap_ms < 0 else gap_ms,
        "log_gap": None if gap_ms < 0 else log_seconds(gap_ms),
        "log_dwell": log_seconds(dwell_ms) if isinstance(dwell_ms, int) else None,
    }


def log_seconds(duration_ms: int) -> float:
    """ln(1 + seconds), to three digits: few values, whatever the log, and the same anywhere."""
    return round(log1p(duration_ms / 1000), 3)


def _batch(rows: list[Row], dense: np.ndarray, schema: pa.Schema) -> pa.RecordBatch:
    plain = len(schema) - dense.shape[1]
    arrays = [pa.array([row[f.name] for row in rows], f.type) for f in list(schema)[:plain]]
    arrays += [pa.array(np.ascontiguousarray(column)) for column in dense.T]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
