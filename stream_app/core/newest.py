"""Users' newest events by event time: what a correction is a second prediction of.

A row keeps the id, the offset and the revision of its user's newest event, since the record itself
may be long gone when a late event changes what was said of it.
"""

from typing import NamedTuple

import numpy as np

from stream_app.core import compiled
from stream_app.core.batch import EventBatch
from stream_app.core.entries import Steps
from stream_app.core.state import EVENT_ID_BYTES, read_event_id, stored_event_id
from stream_app.core.store import PartitionStore

_LAST_REVISION = (1 << 16) - 1


class Newest(NamedTuple):
    event_id: str | None  # None: it came without one
    offset: int
    at_ms: int
    item: int  # hash of its session's newest item, 0: none
    revision: int  # of its corrected prediction


def newest_of(k: int, steps: Steps, batch: EventBatch, store: PartitionStore) -> Newest | None:
    """The event that late step ``k`` corrects; None where an older state format did not keep it.

    Asks rows as they are before ``keep_newest`` of this pass.
    """
    step, late, column = steps[k], steps.late[k], store.columns
    row = step.row
    if late.newest >= 0:
        offset, before = batch.offsets[steps[late.newest].batch_row], 0
        event_id = steps.click[late.newest].event_id
    else:
        offset, before = int(column["newest_offset"][row]), int(column["revision"][row])
        tail = store.long_ids.get(step.pseudonym, b"")
        event_id = read_event_id(bytes(column["event_id"][row]), tail)
    if offset < 0:
        return None
    revision = min(before + late.corrections, _LAST_REVISION)
    return Newest(event_id, offset, late.newest_ms, late.newest_item, revision)


def keep_newest(steps: Steps, store: PartitionStore) -> None:
    """Write into the rows what this pass made their newest events."""
    if compiled.passes is not None and not steps.late and not store.long_ids:
        place = store.row_bytes, store.codec.layout
        if compiled.passes.keep_newest(*place, steps.table, steps.click):
            return
    column = store.columns
    # By row its last step that is not late: later ones take the place of earlier ones.
    row_of = steps.of("row")
    newest = dict(zip(row_of, range(len(steps)), strict=True))
    if steps.late:
        newest = {row: k for k, row in enumerate(row_of) if k not in steps.late}
    if newest:
        rows, ks = np.fromiter(newest, np.intp, len(newest)), list(newest.values())
        column["newest_offset"][rows] = steps.columns["offset"][ks]
        column["revision"][rows] = 0
        column["event_id"][rows] = np.array(_held(ks, steps, store), f"S{EVENT_ID_BYTES}")
    corrected = {row_of[k]: late for k, late in steps.late.items()}
    for row, late in corrected.items():
        if late.newest == newest.get(row, -1):
            revision = int(column["revision"][row]) + late.corrections
            column["revision"][row] = min(revision, _LAST_REVISION)


def _held(ks: list[int], steps: Steps, store: PartitionStore) -> list[bytes]:
    """The event ids of steps as rows keep them; what is too long for a row is put beside it."""
    ids = [(steps.click[k].event_id or "").encode() for k in ks]
    if b"\0" in b"".join(ids) or max(map(len, ids)) > EVENT_ID_BYTES or store.long_ids:
        for place, k in enumerate(ks):
            ids[place], tail = stored_event_id(steps.click[k].event_id)
            if tail:
                store.long_ids[steps[k].pseudonym] = tail
            else:
                store.long_ids.pop(steps[k].pseudonym, None)
    return ids
