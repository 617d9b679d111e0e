"""Conformal p-values against a reservoir of past scores, per partition and alert kind.

p = (1 + number of calibration scores >= score) / (n + 1), so that a share q of ordinary scores has
p <= q whatever their distribution (Vovk et al., "Algorithmic Learning in a Random World", 2005).
The reservoir starts from the export's held-out scores and slowly follows the stream.
"""

import ctypes
from functools import cache

import numpy as np
import numpy.typing as npt

from model.spec import Floats
from stream_app.core.c_library import address, library

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


class Arrays(ctypes.Structure):
    """A reservoir as ``native/reservoir.c`` has it."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("slots", "ranked", "changed")),
        *((name, ctypes.c_int64) for name in ("held", "size")),
    )


class CompiledForm:
    """``native/reservoir.c``"""

    def __init__(self, found: ctypes.CDLL) -> None:
        held, number, scores = ctypes.POINTER(Arrays), ctypes.c_double, ctypes.c_void_p
        count = ctypes.c_int64
        self.p_value, self.learn = found.reservoir_p_value, found.reservoir_learn
        self.p_value.argtypes, self.p_value.restype = (held, number), number
        self.learn.argtypes, self.learn.restype = (held, number, ctypes.c_uint64), None
        self.calm = found.reservoir_calm
        self.calm.argtypes = (held, *[scores] * 3, count, count, number, count, *[scores] * 2)
        self.calm.restype = count


@cache
def compiled_form() -> CompiledForm | None:
    """None where it was not built."""
    found = library(__file__, "reservoir", 1)
    return None if found is None else CompiledForm(found)


class Reservoir:
    """Up to ``size`` scores with the blocks that changed since they were last taken."""

    def __init__(self, shipped: Floats, size: int, compiled: bool | None = None) -> None:
        """``compiled`` False asks for the form in Python; None takes the compiled one if there."""
        start = np.sort(shipped.astype(np.float32))
        if len(start) > size:
            # Even quantiles keep both tails of a larger shipped sample.
            start = start[np.linspace(0, len(start) - 1, size).round().astype(np.int64)]
        self.compiled = None if compiled is False else compiled_form()
        self._size = size
        self._slots = self._ranked = np.zeros(0)
        self._changed = np.zeros(0, np.uint8)  # by block
        self._lay_out(start.astype(np.float64), len(start))
        self.rank()

    def _lay_out(self, scores: npt.NDArray[np.float64], held: int) -> None:
        """Make room for all scores that there may be, and put these first."""
        room = max(self._size, held)
        slots, changed = np.zeros(room), np.zeros(-(-room // BLOCK), np.uint8)
        slots[: len(scores)] = scores
        changed[: len(self._changed)] = self._changed
        self._slots, self._ranked, self._changed = slots, np.zeros(room), changed
        self.arrays = Arrays(address(slots), address(self._ranked), address(changed), held)
        self.arrays.size = self._size

    def __len__(self) -> int:
        return int(self.arrays.held)

    def p_value(self, score: float) -> float:
        if self.compiled is not None:
            return float(self.compiled.p_value(self.arrays, score))
        n = len(self)
        return (1 + n - int(np.searchsorted(self._ranked[:n], score))) / (n + 1)

    def learn(self, score: float, seed: int) -> None:
        """Take in a score, or not, as the 64 bits of ``mix(seed)`` say."""
        if self.compiled is not None:
            self.compiled.learn(self.arrays, score, seed)
            return
        held, ranked = len(self), self._ranked
        if held < self._size:
            slot = gone = held
            self.arrays.held = held + 1
        else:
            bits = mix(seed)
            if bits % LEARN_EVERY:
                return
            slot = (bits >> 8) % self._size
            gone = int(np.searchsorted(ranked[:held], self._slots[slot]))
        place = int(np.searchsorted(ranked[:held], score, side="right"))
        if place > gone:
            place -= 1
            ranked[gone:place] = ranked[gone + 1 : place + 1]
        else:
            ranked[place + 1 : gone + 1] = ranked[place:gone]
        ranked[place] = self._slots[slot] = score
        self._changed[slot // BLOCK] = 1

    def take_changes(self) -> list[tuple[int, bytes]]:
        """(block, float32 bytes) of every block that changed since the last call."""
        if 1 not in self._changed.tobytes():
            return []
        blocks = np.flatnonzero(self._changed).tolist()
        self._changed[:] = 0
        start = blocks[0] * BLOCK
        end = min((blocks[-1] + 1) * BLOCK, len(self))
        held = self._slots[start:end].astype("<f4").tobytes()
        places = ((block, (block * BLOCK - start) * 4) for block in blocks)
        return [(block, held[place : place + 4 * BLOCK]) for block, place in places]

    def change_all(self) -> None:
        """Have every block taken as changed."""
        self._changed[: -(-len(self) // BLOCK)] = 1

    def records(self) -> list[tuple[int, bytes]]:
        """(block, float32 bytes) of all blocks."""
        return [(block, self._packed(block)) for block in range(-(-len(self) // BLOCK))]

    def restore(self, block: int, value: bytes) -> None:
        """Put a block back; call ``rank`` after the last one."""
        scores, start = np.frombuffer(value, "<f4"), block * BLOCK
        end = start + len(scores)
        if end > len(self._slots):
            self._lay_out(self._slots[: len(self)], end)
        self.arrays.held = max(len(self), end)
        self._slots[start:end] = scores

    def rank(self) -> None:
        self._ranked[: len(self)] = np.sort(self._slots[: len(self)])

    def _packed(self, block: int) -> bytes:
        held = self._slots[: len(self)]
        return held[block * BLOCK : (block + 1) * BLOCK].astype("<f4").tobytes()
