"""What a pass has admitted, by row: rows know their newest step, and steps the one before."""

import numpy as np

from stream_app.core.entries import Steps
from stream_app.core.state import ID_HIGH_HASH
from stream_app.core.store import PartitionStore

_LOW_32 = (1 << 32) - 1


class Pending:
    """The steps of one pass by row."""

    def __init__(self, store: PartitionStore, steps: Steps) -> None:
        # The first step's number, counted over all passes: a row's newest step is known by it.
        self.first = store.steps_total
        self.ended: set[int] = set()  # rows whose session ended in this pass
        self._store, self._steps = store, steps

    def add(self, row: int, k: int) -> None:
        self._store.step_numbers[row] = self.first + k

    def newest(self, row: int) -> int:
        """A row's newest step, -1: none."""
        return max(int(self._store.step_numbers[row]) - self.first, -1)

    def of(self, row: int) -> list[int]:
        """A row's steps, in order."""
        found, k = [], self.newest(row)
        while k >= 0:
            found.append(k)
            k = self._steps[k].before
        return found[::-1]

    def is_touched(self, row: int) -> bool:
        """Whether something in this pass refers to a row."""
        return self.newest(row) >= 0 or row in self.ended

    def has_seen(self, row: int, id_hash: int) -> bool:
        """Whether the ring, as it is after these steps, holds the event id."""
        store, pending = self._store, self.of(row)
        length = store.spec.ring_length
        if any(self._steps[k].id_hash == id_hash for k in pending[-length:]):
            return True
        ring = store.columns["ring"][row]
        filled = int(store.columns["used"][row])
        for place in np.flatnonzero(ring["id_low"][:filled] == id_hash & _LOW_32).tolist():
            high = int(ring["id_high"][place]) & ID_HIGH_HASH
            # The steps take the places from the next one on.
            behind = (place - int(store.columns["next"][row])) % length
            if high == id_hash >> 32 and behind >= len(pending):
                return True
        return False
