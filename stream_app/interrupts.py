"""Ends from outside, all as one: Ctrl-C, SIGTERM, a terminal that closes."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

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


def run_until_ended(work: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine until it returns, or until an end comes: then it is cancelled, and closes
    what it has open. An exception in the midst of an event loop could hit any task instead, and be
    raised again by whoever waits for that one."""
    asyncio.run(_until_ended(work))


async def _until_ended(work: Coroutine[Any, Any, object]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    for number in ENDS:
        loop.add_signal_handler(number, task.cancel)
    try:
        await asyncio.wait([task])
    finally:
        for number in ENDS:
            loop.remove_signal_handler(number)
    if not task.cancelled():
        task.result()
