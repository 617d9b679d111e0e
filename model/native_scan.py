"""The fast scan: the best K items and the log-normaliser of a batch of queries.

Two forms with the same bits: the compiled one of ``model/native/scan.c``, and numpy where that was
not built. A row's result does not depend on the rows beside it.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.compiled_scan import LIBRARY, ROWS, CompiledForm, library
from model.numpy_scan import NumpyForm
from model.scan_index import ScanIndex
from model.scan_rough import Rough, in_steps
from model.spec import Floats, Ints

Doubles = npt.NDArray[np.float64]


class Found(NamedTuple):
    """The result of a scan of B queries. Shares are of exp(log_z - largest)."""

    top_items: Ints  # [B, K] best first, ties by lowest code
    top_logits: Floats  # [B, K]
    log_z: Floats  # [B]
    exact: Doubles  # [B] share of the items that were scored exactly
    rest: Doubles  # [B] share of all others, without the correction
    growth: Doubles  # [B] what the error of ``rest`` grows with


class ItemScan:
    """Scans one index. One thread at a time may use it: it owns its scratch."""

    def __init__(self, index: ScanIndex, compiled: bool | None = None) -> None:
        """``compiled`` False asks for the numpy form; None takes the compiled one if it is there.
        RuntimeError where it is asked for and was not built."""
        built = None if compiled is False else library()
        if compiled and built is None:
            raise RuntimeError(f"{LIBRARY} was not built; install with a C compiler at hand")
        self.index = index
        self._rough = NumpyForm(index) if built is None else CompiledForm(index, built)

    def find(self, queries: Floats, along: Floats, top: int) -> Found:
        """The ``top`` best items and log Z of unit queries [B, H] with ``along`` = queries @
        directions [B, D]; ``top <= index.keep``."""
        index, parts = self.index, []
        for start in range(0, len(queries), ROWS):
            part = slice(start, start + ROWS)
            parts.append(self._rough(queries[part], in_steps(index, along[part]), top))
        rough = (
            parts[0] if len(parts) == 1 else Rough(*map(np.concatenate, zip(*parts, strict=True)))
        )
        exact = np.exp(rough.logits.astype(np.float64) - index.largest).sum(axis=1)  # [B]
        rest, growth = index.rest(along, rough.scanned, rough.skipped)
        constant, slope = index.correction
        z = exact + rest * np.exp(constant + slope * growth)
        log_z = np.array([math.log(value) + index.largest for value in z.tolist()], np.float32)
        return Found(rough.top_items, rough.top_logits, log_z, exact, rest, growth)


def is_compiled() -> bool:
    """Whether this installation has the compiled form."""
    return library() is not None
