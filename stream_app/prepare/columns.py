"""The columns of prepared logs, as Arrow types: of cleaned clicks, and of finished events."""

from collections.abc import Sequence

import pyarrow as pa

# Buckets of users, by a hash that does not depend on who computes it.
SLOTS = 4096

CLICK_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("source", pa.int32()),  # which piece of the input, in the order in which it was named
    ("row", pa.int64()),  # place in it: with the time and the source, the order of a log
    ("slot", pa.int32()),
    ("at_ms", pa.int64()),
    ("user_id", pa.string()),
    ("event_id", pa.string()),
    ("session_id", pa.string()),
    ("item_id", pa.string()),
    ("event_type", pa.string()),
    ("dwell_ms", pa.int64()),
    ("reason", pa.string()),  # why a record was rejected; of a click null
)
CLICKS = pa.schema(CLICK_FIELDS)

# What the core adds: numbers of the user's session and of the event in it, the time since the
# user's event before, and both times on a logarithmic scale, ln(1 + seconds) to three digits.
_FOLDED_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("timestamp", pa.float64()),  # epoch seconds: a number that no reader takes for another unit
    ("day", pa.string()),
    ("session", pa.int64()),
    ("position", pa.int32()),
    ("gap_ms", pa.int64()),
    ("log_gap", pa.float64()),
    ("log_dwell", pa.float64()),
)
ORDER = ("at_ms", "source", "row")


def folded(features: Sequence[str]) -> pa.Schema:
    """Columns of events with what the core says of them; ``features`` are the dense ones."""
    clicks = [pa.field(name, kind) for name, kind in CLICK_FIELDS if name not in ("slot", "reason")]
    dense = [pa.field(name, pa.float32()) for name in features]
    return pa.schema([*clicks, *(pa.field(*field) for field in _FOLDED_FIELDS), *dense])


def measured(features: Sequence[str]) -> tuple[str, ...]:
    """Columns that statistics for standardisation are fitted to."""
    return ("log_gap", "log_dwell", *features)
