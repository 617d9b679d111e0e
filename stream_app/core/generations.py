"""Rows that models before the present one wrote: what they are read with, and how they move over.

Each time a model begins to answer it opens a generation, also when it answered before. A row names
the generation that wrote its memory. After a swap the rows of earlier ones wait: their memory means
nothing to the new model, and is made anew from the ring at the user's next event. So a swap costs
no rewriting of the state, and a row's ring may hold action codes of any generation that still has
rows.
"""

from collections.abc import Mapping

import msgspec
import numpy as np

from model.spec import OTHER, Engine, ModelSpec
from stream_app.core import window
from stream_app.core.state import ACTION_CODE, Rows, StateCodec, row_dtype

# So many generations may have rows at once. The record of each batch names them all.
MOST_GENERATIONS = 16
MEMORY_FIELDS = ("hidden", "anchor", "log_z", "anchor_log_z")
_CHUNK_ROWS = 65_536
_RING_FIELDS = ("ring", "used", "next")


class KnownModel(msgspec.Struct, frozen=True):
    """A model that wrote rows which are still there: what it takes to read them."""

    version: str
    fingerprint: bytes
    actions: tuple[str, ...]
    hidden_width: int
    memory_dtype: str
    ring_length: int
    session_gap_ms: int
    kept: int  # newest events of a row that count: the shortest ring since

    @classmethod
    def of(cls, engine: Engine) -> "KnownModel":
        spec = engine.spec
        return cls(
            engine.version,
            engine.fingerprint,
            spec.actions,
            spec.hidden_width,
            spec.memory_dtype,
            spec.ring_length,
            spec.session_gap_ms,
            spec.ring_length,
        )

    def layout(self) -> ModelSpec:
        """A spec that tells the layout of rows and the session gap, and nothing else."""
        return ModelSpec(
            name=self.version,
            item_count=1,
            top_k=1,
            actions=self.actions,
            hidden_width=self.hidden_width,
            memory_dtype="float16" if self.memory_dtype == "float16" else "float32",
            ring_length=self.ring_length,
            session_gap_ms=self.session_gap_ms,
        )


def succession(
    models: Mapping[int, KnownModel], generation: int, held: frozenset[int], engine: Engine
) -> tuple[int, dict[int, KnownModel]]:
    """The number of the generation that ``engine`` opens after ``generation``, and all that rows
    need from then on; ``held`` are the generations that have rows. Where all numbers are held, the
    oldest generation's number is taken: its rows have to move to ``generation`` first."""
    after = [(generation + n) % MOST_GENERATIONS for n in range(1, MOST_GENERATIONS)]
    number = next((n for n in after if n not in held), after[0])
    length = engine.spec.ring_length
    kept = {
        n: msgspec.structs.replace(model, kept=min(model.kept, length))
        for n, model in models.items()
        if n in held and n != number
    }
    return number, {**kept, number: KnownModel.of(engine)}


def same_layout(one: ModelSpec, other: ModelSpec) -> bool:
    return row_dtype(one) == row_dtype(other)


def relaid(rows: Rows, spec: ModelSpec) -> Rows:
    """Rows in the layout of another model: heads as they are, the newest events that its ring can
    hold, and memories only where they have as many bytes there."""
    new = np.zeros(len(rows), row_dtype(spec))
    for start in range(0, len(rows), _CHUNK_ROWS):
        chunk = slice(start, start + _CHUNK_ROWS)
        _move(rows[chunk], new[chunk], spec.ring_length)
        for name in MEMORY_FIELDS:
            if rows.dtype[name].itemsize == new.dtype[name].itemsize:
                held = np.ascontiguousarray(rows[name][chunk])
                new[name][chunk] = held.view(new.dtype[name].base)
    return new


def trimmed(rows: Rows, kept: int, spec: ModelSpec) -> Rows:
    """Rows of the same layout without memory and with no more than the ``kept`` newest events."""
    new = np.zeros(len(rows), rows.dtype)
    _move(rows, new, min(kept, spec.ring_length))
    return new


def _move(rows: Rows, new: Rows, most: int) -> None:
    names = set(rows.dtype.names or ()) - {*MEMORY_FIELDS, *_RING_FIELDS}
    for name in sorted(names):
        new[name] = rows[name]
    if not len(rows):
        return
    length = new["ring"].shape[1]
    used = rows["used"].astype(np.int64)  # [B]
    kept = np.minimum(used, most)
    rank = (used - kept)[:, None] + np.arange(length)  # [B, L] of the entry that comes to a place
    places = window.by_rank(rows)
    lanes = np.arange(len(rows))[:, None]
    source = places[lanes, np.minimum(rank, places.shape[1] - 1)]
    entries = rows["ring"][lanes, source]  # [B, L]
    entries[np.arange(length) >= kept[:, None]] = 0
    new["ring"], new["used"], new["next"] = entries, kept, kept % length


def translated(rows: Rows, of: tuple[str, ...], to: tuple[str, ...]) -> None:
    """Give the rings' action codes another model's meaning, in place. Names that it lacks become
    other, and stay so under the models after it."""
    codes = np.full(ACTION_CODE + 1, OTHER, np.uint8)
    for code, name in enumerate(of):
        codes[code] = to.index(name) if name in to else OTHER
    marks = rows["ring"]["action"]
    rows["ring"]["action"] = (marks & ~np.uint8(ACTION_CODE)) | codes[marks & ACTION_CODE]


def read_stranger(value: bytes) -> Rows | None:
    """A row [1] from a value that a model of any width and ring length wrote; None for what is no
    row of any."""
    plain = ModelSpec(name="-", item_count=1, top_k=1, hidden_width=1, ring_length=2)
    memory_bytes = StateCodec(plain).memory_bytes(value)
    if memory_bytes <= 0 or memory_bytes % 4:
        return None
    # Two memories of two bytes a number: what they mean is lost anyway.
    layout = msgspec.structs.replace(
        plain, hidden_width=memory_bytes // 4, ring_length=max(value[1], 2)
    )
    return StateCodec(layout).unpack(value)
