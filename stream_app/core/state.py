"""One user's state: its layout, its packed bytes, and how older bytes are still read.

A row is a fixed head, the model's memory twice (live and anchor), and a ring of the last events in
event-time order. Packed bytes are the row cut after the used part of the ring, so a new user costs
little; an event id that is too long for the head follows as a tail.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from model.spec import ModelSpec
from stream_app.core.compiled import layout

FORMAT = 3
EXPECTED = 3
NO_ACTION = 255
# The ring's action byte: a code, and what pass 1 said of the event's session.
ACTION_CODE, NAMES_SESSION, STARTS_SESSION = 0x3F, 0x40, 0x80
# The ring's id_high: the upper 12 bits of an event id's hash, and a dwell code.
ID_HASH_BITS = 44
ID_HIGH_HASH, DWELL_SHIFT = 0x0FFF, 12
# A UUID as text fits the head; longer ids are a tail, and the head holds its length behind a byte
# that begins no UTF-8 text.
EVENT_ID_BYTES = 36
_TAIL_MARK = b"\xff"

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
# Format 3 can make tokens again from the ring alone, and name the event that a correction is of.
_HEAD_3: list[tuple[str, Any]] = [
    *(field for field in _HEAD_2 if field[0] != "anchor_at"),
    ("anchor_age", "u1"),  # how many of the user's events came behind the anchor; 255: or more
    ("generation", "u1"),  # which entry of PartitionRecord.models wrote the memory
    ("revision", "<u2"),  # of the newest event's prediction
    ("newest_offset", "<i8"),  # of the user's newest event by event time, -1: unknown
    ("event_id", f"S{EVENT_ID_BYTES}"),  # its id; empty: it came without one
]
_HEADS = {1: _HEAD_1, 2: _HEAD_2, 3: _HEAD_3}

RING_ENTRY = np.dtype(
    [
        ("item", "<u4"),  # item hash, 0: no item
        ("at", "<u4"),  # ms since ring_base_ms, clipped at 0
        ("id_low", "<u4"),  # event id hash, 44 bits
        ("id_high", "<u2"),  # its upper 12 bits; above them the dwell code
        ("action", "u1"),  # 6 bits action code, NAMES_SESSION, STARTS_SESSION
        ("surprise", "<f2"),  # nats
    ]
)


class StateError(ValueError):
    """State bytes of another format, model or program; the message says which and what to do."""

    exit_code: ClassVar[int] = 2


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
        self.layout = layout(self.dtype, RING_ENTRY)
        self._head_bytes = {v: row_dtype(spec, v).fields["ring"][1] for v in _HEADS}  # type: ignore[index]
        self._event_id = self.dtype.fields["event_id"][1]  # type: ignore[index]

    def pack(self, rows: Rows, tails: Mapping[int, bytes] = MappingProxyType({})) -> list[bytes]:
        """Values of B rows, each cut behind the used part of its ring; ``tails`` are the long
        event ids by place among the rows. Where a full ring begins is not told: that depends on
        when the row was last restored or moved to another layout."""
        head, size = self._head_bytes[FORMAT], self.dtype.itemsize
        whole = np.ascontiguousarray(self._oldest_first(rows)).tobytes()
        ends = head + rows["used"].astype(np.int64) * RING_ENTRY.itemsize
        starts = range(0, len(rows) * size, size)
        values = [whole[s : s + e] for s, e in zip(starts, ends.tolist(), strict=True)]
        for place, tail in tails.items():
            values[place] += tail
        return values

    def _oldest_first(self, rows: Rows) -> Rows:
        """Rows whose full rings begin with their oldest event."""
        length = self.spec.ring_length
        turned = np.flatnonzero((rows["used"] == length) & (rows["next"] != 0))
        if not len(turned):
            return rows
        rows = rows.copy()
        oldest = rows["next"][turned].astype(np.intp)
        places = (oldest[:, None] + np.arange(length)) % length  # [B, L]
        rows["ring"][turned] = rows["ring"][turned[:, None], places]
        rows["next"][turned] = 0
        return rows

    def unpack(self, value: bytes) -> Rows:
        """One row of shape [1] from a value of this or an older format; StateError otherwise."""
        version = value[0] if value else 0
        head = self._head_bytes.get(version)
        if head is None:
            raise StateError(
                f"state of format {version}; this program reads formats 1 to {FORMAT}. "
                "Run the version that wrote it, or start a new application id."
            )
        ring_bytes = len(value) - head - self._tail_bytes(value)
        fits = ring_bytes >= 0 and ring_bytes == value[1] * RING_ENTRY.itemsize
        if not fits or value[1] > self.spec.ring_length:
            raise StateError(
                f"state of {len(value)} bytes does not fit the model: it was written with another "
                "memory width or ring length. Serve the model that wrote it."
            )
        dtype = row_dtype(self.spec, version)
        row = np.frombuffer(value[: head + ring_bytes].ljust(dtype.itemsize, b"\0"), dtype)
        return row.copy() if version == FORMAT else self._migrated(row)

    def unpack_plain(self, values: Sequence[bytes]) -> tuple[Rows, list[bool]]:
        """Of B values those that are, but for zeros behind them, rows as they are in memory: as
        bytes without fields [P], and which ones they are (a list of B)."""
        size = self.dtype.itemsize
        whole = b"".join([value[:size].ljust(size, b"\0") for value in values])
        rows = np.frombuffer(whole, self.dtype)  # [B]
        lengths = np.fromiter(map(len, values), np.intp, len(values))
        used = rows["used"].astype(np.intp)
        id_starts = np.frombuffer(whole, np.uint8).reshape(-1, size)[:, self._event_id]
        plain = (
            (rows["format"] == FORMAT)
            & (used <= self.spec.ring_length)
            & (lengths == self._head_bytes[FORMAT] + used * RING_ENTRY.itemsize)
            & (id_starts != _TAIL_MARK[0])
        )
        bare = rows.view(f"V{size}")
        return (bare if plain.all() else bare[plain]), plain.tolist()

    def tail(self, value: bytes) -> bytes:
        """The long event id behind a value that ``unpack`` takes; empty where there is none."""
        return value[len(value) - self._tail_bytes(value) :]

    def memory_bytes(self, value: bytes) -> int:
        """What the memories of a row take in a value of any model; below 1 where it is no row."""
        version = value[0] if value else 0
        if version not in _HEADS or len(value) < self._head_bytes[version]:
            return 0
        head: int = row_dtype(self.spec, version).fields["hidden"][1]  # type: ignore[index]
        return len(value) - head - self._tail_bytes(value) - value[1] * RING_ENTRY.itemsize

    def _tail_bytes(self, value: bytes) -> int:
        start = self._event_id
        if value[0] != FORMAT or value[start : start + 1] != _TAIL_MARK:
            return 0
        digits = value[start + 1 : start + EVENT_ID_BYTES].rstrip(b"\0")
        return int(digits) if digits.isdigit() else 0

    def _migrated(self, old: Rows) -> Rows:
        """A row of an older format in today's layout.

        What those formats did not know follows a rule: no event named its session or a dwell time,
        only the session at hand has a known start, and the newest event has no known id, so that
        no correction is written until the next one. Their memory took late events in as they
        came, and may have had a dwell time in it: folding such a row again is approximate.
        """
        row = np.zeros(1, self.dtype)
        row["expected_item"], row["expected_action"] = -1, NO_ACTION
        for name in old.dtype.names or ():
            if name in row.dtype.fields:  # type: ignore[operator]
                row[name] = old[name]
        row["format"], row["newest_offset"] = FORMAT, -1
        age = int(old["events_total"][0]) - int(old["anchor_at"][0])
        row["anchor_age"] = age if 0 <= age < 255 else 255
        self._migrate_ring(row)
        return row

    def _migrate_ring(self, row: Rows) -> None:
        """Bring a ring in order of arrival into the order of event time; equal times stay."""
        length, used = self.spec.ring_length, int(row["used"][0])
        newest = int(row["next"][0]) % length if used == length else used
        places = (newest - used + np.arange(used)) % length
        ring = row["ring"][0]
        entries = ring[places]
        entries = entries[np.argsort(entries["at"], kind="stable")]
        entries["id_high"] &= ID_HIGH_HASH
        entries["action"] &= ACTION_CODE
        times = entries["at"].astype(np.int64) + row["ring_base_ms"][0]
        first = int(np.searchsorted(times, row["session_started_ms"][0]))
        if first < used and used - first == int(row["session_events"][0]):
            entries["action"][first] |= STARTS_SESSION
        ring[places] = entries
        row["next"] = newest % length


def stored_event_id(event_id: str | None) -> tuple[bytes, bytes]:
    """An event id as the head keeps it, and the tail that goes behind the row: empty where the id
    fits the head. A text that ends in NUL would lose it there, so it is a tail."""
    held = (event_id or "").encode()
    if len(held) <= EVENT_ID_BYTES and not held.endswith(b"\0"):
        return held, b""
    return _TAIL_MARK + str(len(held)).encode(), held


def read_event_id(held: bytes, tail: bytes) -> str | None:
    """The event id of a head's field and a tail; None where the event came without one."""
    whole = tail if held.startswith(_TAIL_MARK) else held
    return whole.decode(errors="replace") or None
