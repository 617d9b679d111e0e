"""When open sessions end, in event time: a heap of deadlines, one for each row of users."""

import heapq
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_app.core import compiled

Due = tuple[int, int]
"""(deadline in epoch ms, offset of the session's last event): the order in which sessions end."""

_FIRST_ROWS = 256
_CHUNK = 4_096
_NEVER = 1 << 62


class SessionTimers:
    """Deadlines by row. They are lower bounds: events that move a deadline cost nothing, who pops
    it sets it again.

    After a restart most of them are far away: they wait as sorted columns, and enter the heap when
    the watermark comes to them.
    """

    def __init__(self) -> None:
        # Of (deadline, offset, number, row): a list, or what the loops in C know as a heap.
        self._passes = compiled.passes
        self.heap: Any = self._new_heap()
        self.number_of = np.zeros(_FIRST_ROWS, np.int64)  # of a row's timer; 0: it has none
        self.set_total = 0
        self._waiting: npt.NDArray[np.int64] = np.zeros((0, 4), np.int64)  # as in the heap
        self.waiting_ms = _NEVER

    def __contains__(self, row: int) -> bool:
        return row < len(self.number_of) and bool(self.number_of[row])

    def set(self, row: int, due: Due) -> None:
        """Have the row popped once ``due`` has come."""
        self.make_room(row + 1)
        self.set_total += 1
        self.number_of[row] = self.set_total
        self._push(*due, self.set_total, row)

    def set_all(self, due_ms: Any, offsets: Any, rows: npt.NDArray[np.intp]) -> None:
        """Replace all timers by these [N]."""
        self.heap = self._new_heap()
        self.number_of[:] = 0
        self.make_room(int(rows.max(initial=-1)) + 1)
        order = np.lexsort((offsets, due_ms))
        timers = np.empty((len(rows), 4), np.int64)  # [N, 4]
        timers[:, 0], timers[:, 1], timers[:, 3] = due_ms[order], offsets[order], rows[order]
        timers[:, 2] = np.arange(self.set_total + 1, self.set_total + 1 + len(rows))
        self.set_total += len(rows)
        self.number_of[timers[:, 3]] = timers[:, 2]
        self._wait(timers)

    def cancel(self, row: int) -> None:
        if row in self:
            self.number_of[row] = 0

    def pop(self, watermark_ms: int) -> tuple[int, Due] | None:
        """The row whose deadline is the first, where it is not behind the watermark."""
        self.wake(watermark_ms)
        while (first := self._pop(watermark_ms)) is not None:
            deadline_ms, offset, number, row = first
            if self.number_of[row] == number:
                self.number_of[row] = 0
                return row, (deadline_ms, offset)
        return None

    def wake(self, watermark_ms: int) -> None:
        """Put what waits and may be due into the heap."""
        while self.waiting_ms <= watermark_ms:
            for timer in self._waiting[:_CHUNK].tolist():
                self._push(*timer)
            self._wait(self._waiting[_CHUNK:])

    def _new_heap(self) -> Any:
        return [] if self._passes is None else self._passes.heap()

    def _push(self, deadline_ms: int, offset: int, number: int, row: int) -> None:
        if self._passes is None:
            heapq.heappush(self.heap, (deadline_ms, offset, number, row))
        else:
            self._passes.push(self.heap, deadline_ms, offset, number, row)

    def _pop(self, watermark_ms: int) -> tuple[int, int, int, int] | None:
        if self._passes is not None:
            return self._passes.pop(self.heap, watermark_ms)
        is_due = self.heap and self.heap[0][0] <= watermark_ms
        return heapq.heappop(self.heap) if is_due else None

    def _wait(self, timers: npt.NDArray[np.int64]) -> None:
        self._waiting = timers
        self.waiting_ms = int(timers[0, 0]) if len(timers) else _NEVER

    def make_room(self, rows: int) -> None:
        """Have a number for each of so many rows."""
        if rows > len(self.number_of):
            more = np.zeros(max(rows, 2 * len(self.number_of)) - len(self.number_of), np.int64)
            self.number_of = np.concatenate((self.number_of, more))
