"""One user's state: its layout, its packed bytes, and how older bytes are still read.

A row is a fixed head, the model's memory twice (live and anchor), and a ring of the last events.
Packed bytes are the row cut after the used part of the ring, so a new user costs little.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from model.spec import ModelSpec

FORMAT = 2
EXPECTED = 3
NO_ACTION = 255

Rows = npt.NDArray[np.void]
Seal = Callable[[bytes, bytes], bytes]

_HEAD_1: list[tuple[str, Any]] = [
    ("format", "u1"),
    ("used", "u1"),  # filled entries of the ring
    ("next", "u1"),  # where the next event goes
    ("session_open", "u1"),
    ("last_offset", "<i8"),
    ("last_event_ms", "<i8"),
    ("session_started_ms", "<i8"),
    ("ring_base_ms", "<i8"),
    ("session_hash", "<u8"),  # 0: sessions by gap
    ("last_item", "<u4"),  # item hash of the session's newest item event, 0: none
    ("events_total", "<u4"),
    ("session_events", "<u4"),
    ("sessions_total", "<u4"),
    ("log_z", "<f4"),
    ("close_surprise", "<f4"),  # nats, should the session end now
    ("alert_opened_ms", "<i8"),
    ("alert_offset", "<i8"),  # of the event that opened it, -1: no open alert
    ("alert_events", "<u4"),
    ("alert_quiet", "u1"),
    ("alert_severity", "u1"),
    ("alert_peak", "<f4"),
    ("anchor_at", "<u4"),  # events_total when the anchor was taken
    ("anchor_log_z", "<f4"),
]
# Format 2 remembers what the last step expected, so that an alert can name alternatives.
_HEAD_2: list[tuple[str, Any]] = [
    *_HEAD_1,
    ("expected_item", "<i4", (EXPECTED,)),  # type: ignore[list-item]
    ("expected_item_logp", "<f2", (EXPECTED,)),  # type: ignore[list-item]
    ("expected_action", "u1", (EXPECTED,)),  # type: ignore[list-item]
    ("expected_action_logp", "<f2", (EXPECTED,)),  # type: ignore[list-item]
]
_HEADS = {1: _HEAD_1, 2: _HEAD_2}

RING_ENTRY = np.dtype(
    [
        ("item", "<u4"),  # item hash, 0: no item
        ("at", "<u4"),  # ms since ring_base_ms, clipped at 0
        ("id_low", "<u4"),  # event id hash, 48 bits
        ("id_high", "<u2"),
        ("action", "u1"),
        ("surprise", "<f2"),  # nats
    ]
)


class StateError(ValueError):
    """State bytes of another format, model or program; the message says which and what to do."""


def row_dtype(spec: ModelSpec, version: int = FORMAT) -> np.dtype[np.void]:
    """Layout of a user's row for a model, in a format that this program can read."""
    memory = "<f2" if spec.memory_dtype == "float16" else "<f4"
    width = (spec.hidden_width,)
    ring = ("ring", RING_ENTRY, (spec.ring_length,))
    return np.dtype([*_HEADS[version], ("hidden", memory, width), ("anchor", memory, width), ring])


class StateCodec:
    """Rows to changelog values and back, for one model."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.dtype = row_dtype(spec)
        self._head_bytes = {v: row_dtype(spec, v).fields["ring"][1] for v in _HEADS}  # type: ignore[index]

    def pack(self, rows: Rows) -> list[bytes]:
        """Values of B rows, each cut behind the used part of its ring."""
        head, size = self._head_bytes[FORMAT], self.dtype.itemsize
        whole = np.ascontiguousarray(rows).tobytes()
        ends = head + rows["used"].astype(np.int64) * RING_ENTRY.itemsize
        starts = range(0, len(rows) * size, size)
        return [whole[s : s + e] for s, e in zip(starts, ends.tolist(), strict=True)]

    def unpack(self, value: bytes) -> Rows:
        """One row of shape [1] from a value of this or an older format; StateError otherwise."""
        version = value[0] if value else 0
        head = self._head_bytes.get(version)
        if head is None:
            raise StateError(
                f"state of format {version}; this program reads formats 1 to {FORMAT}. "
                "Run the version that wrote it, or start a new application id."
            )
        ring_bytes = len(value) - head
        fits = ring_bytes >= 0 and ring_bytes == value[1] * RING_ENTRY.itemsize
        if not fits or value[1] > self.spec.ring_length:
            raise StateError(
                f"state of {len(value)} bytes does not fit the model: it was written with another "
                "memory width or ring length. Serve the model that wrote it."
            )
        dtype = row_dtype(self.spec, version)
        row = np.frombuffer(value.ljust(dtype.itemsize, b"\0"), dtype)
        return row.copy() if version == FORMAT else self._migrated(row)

    def _migrated(self, old: Rows) -> Rows:
        row = np.zeros(1, self.dtype)
        for name in old.dtype.names or ():
            row[name] = old[name]
        row["expected_item"] = -1
        row["expected_action"] = NO_ACTION
        row["format"] = FORMAT
        return row
