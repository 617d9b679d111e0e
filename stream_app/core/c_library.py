"""What is written in C, in a folder ``native`` beside its caller. The install compiles it where it
finds a compiler; each part has a form in Python with the same results, which is slower."""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy.typing as npt

from stream_app.core.compiled import passes


@cache
def library(caller: str, name: str, version: int) -> ctypes.CDLL | None:
    """The compiled form of ``native/name.c`` beside ``caller``, a module's file; None where it was
    not built, or from other source."""
    folder = caller.rpartition("/")[0]
    try:
        found = ctypes.CDLL(f"{folder}/native/{name}.so")
    except OSError:
        return None
    return found if getattr(found, f"{name}_version")() == version else None


def address(array: npt.NDArray[Any] | None) -> int | None:
    """Where a contiguous array lies, which has to outlive the use of it; None for none."""
    if array is None:
        return None
    place: int = array.__array_interface__["data"][0]
    return place


def addresses(*arrays: npt.NDArray[Any] | None) -> Sequence[int | None]:
    if passes is None:
        return [address(array) for array in arrays]
    return passes.addresses(*arrays)
