"""Ends from outside, all as one: Ctrl-C, SIGTERM, a terminal that closes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ends_as_interrupts() -> Iterator[None]:
    """Every end raises KeyboardInterrupt in the block.

    SIGINT, too: a shell makes what it starts in the background ignore it, and then nothing but
    SIGTERM would be left.
    """
    before = [signal.signal(number, _interrupt) for number in ENDS]
    try:
        yield
    finally:
        for number, handler in zip(ENDS, before, strict=True):
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
