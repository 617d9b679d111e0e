"""Conformal p-values against a reservoir of past scores, per partition and alert kind.

p = (1 + number of calibration scores >= score) / (n + 1), so that a share q of ordinary scores has
p <= q whatever their distribution (Vovk et al., "Algorithmic Learning in a Random World", 2005).
The reservoir starts from the export's held-out scores and slowly follows the stream.
"""

from bisect import bisect_left, insort

import numpy as np

from model.spec import Floats

BLOCK = 256
# One event in LEARN_EVERY replaces a random score: the reservoir's mean memory is
# LEARN_EVERY * size events, and an attacker's share of it stays small.
LEARN_EVERY = 8
_MASK = (1 << 64) - 1


def mix(value: int) -> int:
    """64 well-mixed bits of an integer (splitmix64, Steele et al. 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Reservoir:
    """Up to ``size`` scores with the blocks that changed since they were last taken."""

    def __init__(self, shipped: Floats, size: int) -> None:
        start = np.sort(shipped.astype(np.float32))
        if len(start) > size:
            # Even quantiles keep both tails of a larger shipped sample.
            start = start[np.linspace(0, len(start) - 1, size).round().astype(np.int64)]
        self._size = size
        self._slots: list[float] = start.tolist()
        self._ranked: list[float] = sorted(self._slots)
        self._changed: set[int] = set()

    def __len__(self) -> int:
        return len(self._slots)

    def p_value(self, score: float) -> float:
        n = len(self._ranked)
        return (1 + n - bisect_left(self._ranked, score)) / (n + 1)

    def learn(self, score: float, seed: int) -> None:
        """Take in a score, or not, as the 64 bits of ``mix(seed)`` say."""
        if len(self._slots) < self._size:
            slot = len(self._slots)
            self._slots.append(score)
        else:
            bits = mix(seed)
            if bits % LEARN_EVERY:
                return
            slot = (bits >> 8) % self._size
            del self._ranked[bisect_left(self._ranked, self._slots[slot])]
            self._slots[slot] = score
        insort(self._ranked, score)
        self._changed.add(slot // BLOCK)

    def take_changes(self) -> list[tuple[int, bytes]]:
        """(block, float32 bytes) of every block that changed since the last call."""
        blocks = sorted(self._changed)
        self._changed.clear()
        return [(block, self._packed(block)) for block in blocks]

    def change_all(self) -> None:
        """Have every block taken as changed."""
        self._changed.update(block for block, _ in self.records())

    def records(self) -> list[tuple[int, bytes]]:
        """(block, float32 bytes) of all blocks."""
        return [(block, self._packed(block)) for block in range(-(-len(self._slots) // BLOCK))]

    def restore(self, block: int, value: bytes) -> None:
        """Put a block back; call ``rank`` after the last one."""
        scores = np.frombuffer(value, "<f4").tolist()
        start = block * BLOCK
        self._slots.extend([0.0] * (start + len(scores) - len(self._slots)))
        self._slots[start : start + len(scores)] = scores

    def rank(self) -> None:
        self._ranked = sorted(self._slots)

    def _packed(self, block: int) -> bytes:
        scores = self._slots[block * BLOCK : (block + 1) * BLOCK]
        return np.array(scores, "<f4").tobytes()
