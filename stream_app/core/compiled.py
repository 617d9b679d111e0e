"""The core's inner loops in C, where the install compiled them (``stream_app/core/extension``).

Each has a form in Python beside the place that calls it, with the same results to the bit: it says
what the loop means, and serves where no compiler was at hand.
"""

from typing import Any

import numpy as np

from stream_app.core.privacy import EVENT_PERSON, HASH_BYTES, PSEUDONYM_BYTES, USER_PERSON

INTERFACE = 1
"""Of the compiled form that this source calls: one from before an update is none."""

try:
    from stream_app.core.extension import passes as passes
except ImportError:
    passes = None  # type: ignore[assignment]
if getattr(passes, "INTERFACE", None) != INTERFACE:
    passes = None  # type: ignore[assignment]

Layout = object


def is_compiled() -> bool:
    """Whether this installation has the compiled form, of this version."""
    return passes is not None


def layout(row: "np.dtype[np.void]", ring_entry: "np.dtype[np.void]") -> Layout | None:
    """Where the fields of a row lie, for the loops in C; None without them."""
    if passes is None:
        return None
    fields: Any = row.fields
    ring, entry = fields["ring"], ring_entry.fields
    assert entry is not None  # noqa: S101 (a ring's entries have fields)
    return passes.layout(
        row.itemsize,
        tuple(fields[name][1] for name in passes.FIELDS),
        ring_entry.itemsize,
        tuple(entry[name][1] for name in passes.RING_FIELDS),
        ring[0].shape[0],
        fields["hidden"][0].itemsize,
    )


def keyed(key: bytes) -> tuple[bytes, bytes] | None:
    """What pseudonyms and event ids are hashed with in C; None without it."""
    if passes is None:
        return None
    users = passes.keyed(key, PSEUDONYM_BYTES, USER_PERSON)
    return users, passes.keyed(key, HASH_BYTES, EVENT_PERSON)
