"""What a model swap leaves to do: memories made anew from the ring, user by user.

A swap itself costs one pass over the heads of the rows (`PartitionStore.swap`). A user's memory is
rebuilt in the batch of the user's first event behind it; until then nobody reads it. A session that
ends before that is not scored: what its old model expected cannot be judged by the new one's
calibration.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from model.spec import Engine
from stream_app.core.generations import translated
from stream_app.core.refold import rebuild
from stream_app.core.store import PartitionStore


class Counted(NamedTuple):
    """How many events a stale row's ring stands for, before those of the pass at hand."""

    events_total: int
    session_events: int


def rebuild_stale(store: PartitionStore, engine: Engine, stale: Mapping[int, Counted]) -> int:
    """Rebuild the memories of stale rows under ``engine``; how many there were."""
    if not stale:
        return 0
    index = np.array(list(stale), np.intp)
    rows = store.rows[index]  # [B], a copy
    counts = np.array(list(stale.values()), np.int64)  # [B, 2]
    for number in np.unique(rows["generation"]).tolist():
        where = np.flatnonzero(rows["generation"] == number)
        part = rows[where]
        translated(part, store.record.models[number].actions, engine.spec.actions)
        rows[where] = part
    rebuild(rows, engine, store.config.burst_ms, counts[:, 0], counts[:, 1])
    store.rows[index] = rows
    store.rebuilt(index)
    return len(index)
