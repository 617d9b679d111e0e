"""Ends a process whose event loop stands still: it would keep its partitions and serve nobody.

A thread counts the seconds for which the loop gave no sign. It counts its own ticks and reads no
clock, so that a process which was stopped as a whole (SIGSTOP, a suspended machine) finds the loop
as it left it and not guilty of the time in between.
"""

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

BOUND_SECONDS = 60
"""The longest micro-batch takes some seconds."""

TICK_SECONDS = 1.0
STALLED = 1
"""Exit code of a worker that ends itself."""


@contextmanager
def watched(
    loop: asyncio.AbstractEventLoop,
    bound_ticks: int = BOUND_SECONDS,
    tick_seconds: float = TICK_SECONDS,
    end: Callable[[int], None] = os._exit,
) -> Iterator[None]:
    """Watch the running loop, from its own thread."""
    watch = _Watch(loop, threading.get_ident(), bound_ticks, tick_seconds, end)
    watch.thread.start()
    try:
        yield
    finally:
        watch.over.set()


class _Watch:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        loop_thread: int,
        bound_ticks: int,
        tick_seconds: float,
        end: Callable[[int], None],
    ) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._loop = loop
        self._loop_thread = loop_thread
        self._bound_ticks = bound_ticks
        self._tick_seconds = tick_seconds
        self._end = end
        self._missed = 0

    def _run(self) -> None:
        while not self.over.wait(self._tick_seconds):
            self._missed += 1
            if self._missed > self._bound_ticks:
                self._bark()
                return
            try:
                self._loop.call_soon_threadsafe(self._sign)
            except RuntimeError:
                # The loop has been closed: its work is over.
                return

    def _sign(self) -> None:
        self._missed = 0

    def _bark(self) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        log.critical(
            "The event loop has stood still for %.0f s; the worker ends, and its next start goes on"
            " from what was committed. It stands here:\n%s",
            self._bound_ticks * self._tick_seconds, stack,
        )  # fmt: skip
        logging.shutdown()
        self._end(STALLED)
