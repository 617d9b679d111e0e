"""The fast scan: the best K items and the log-normaliser of a batch of queries.

Two forms with the same bits: the compiled one of ``model/native``, and numpy where that was not
built. A row's result does not depend on the rows beside it.
"""

from collections.abc import Callable

import numpy as np

from model.compiled_scan import LIBRARY, CompiledForm, library
from model.numpy_scan import NumpyForm
from model.scan_index import ScanIndex
from model.scan_rough import Found
from model.spec import Floats


class ItemScan:
    """Scans one index. One thread at a time may use it: it owns its scratch."""

    def __init__(self, index: ScanIndex, compiled: bool | None = None) -> None:
        """``compiled`` False asks for the numpy form; None takes the compiled one if it is there.
        RuntimeError where it is asked for and was not built."""
        built = None if compiled is False else library()
        if compiled and built is None:
            raise RuntimeError(f"{LIBRARY} was not built; install with a C compiler at hand")
        self.index = index
        self.form = NumpyForm(index) if built is None else CompiledForm(index, built)

    def find(self, queries: Floats, along: Floats, top: int) -> Found:
        """The ``top`` best items and log Z of unit queries [B, H] with ``along`` = queries @
        directions [B, D]; ``top <= index.keep``."""
        found = Found.of(len(queries), top)
        self.bind(np.ascontiguousarray(queries), np.ascontiguousarray(along), found)(len(queries))
        return found

    def bind(self, queries: Floats, along: Floats, found: Found) -> Callable[[int], None]:
        """``find`` for arrays that stay where they are, and hold other queries each time: what it
        is called with is how many of their first rows are asked for. All are without gaps."""
        for array in (queries, along, *found):
            assert array.flags.c_contiguous  # noqa: S101 (C reads them as they lie)
        return self.form.bind(queries, along, found)


def is_compiled() -> bool:
    """Whether this installation has the compiled form."""
    return library() is not None
