"""When open sessions end, in event time: a heap of deadlines, one for each user."""

import heapq
from collections.abc import Sequence

Due = tuple[int, int]
"""(deadline in epoch ms, offset of the session's last event): the order in which sessions end."""


class SessionTimers:
    """Deadlines by pseudonym. They are lower bounds: events that move a deadline cost nothing, who
    pops it sets it again."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, bytes]] = []
        self._number_of: dict[bytes, int] = {}
        self._set_total = 0

    def __contains__(self, pseudonym: bytes) -> bool:
        return pseudonym in self._number_of

    def set(self, pseudonym: bytes, due: Due) -> None:
        """Have the user popped once ``due`` has come."""
        self._set_total += 1
        self._number_of[pseudonym] = self._set_total
        heapq.heappush(self._heap, (*due, self._set_total, pseudonym))

    def set_all(
        self, due_ms: Sequence[int], offsets: Sequence[int], pseudonyms: Sequence[bytes]
    ) -> None:
        """Replace all timers by these, which are in the order of (deadline, offset)."""
        numbers = range(self._set_total + 1, self._set_total + 1 + len(pseudonyms))
        # What is in order is a heap.
        self._heap = list(zip(due_ms, offsets, numbers, pseudonyms, strict=True))
        self._number_of = dict(zip(pseudonyms, numbers, strict=True))
        self._set_total += len(pseudonyms)

    def cancel(self, pseudonym: bytes) -> None:
        self._number_of.pop(pseudonym, None)

    def pop(self, watermark_ms: int) -> tuple[bytes, Due] | None:
        """The user whose deadline is the first, where it is not behind the watermark."""
        while self._heap and self._heap[0][0] <= watermark_ms:
            deadline_ms, offset, number, pseudonym = heapq.heappop(self._heap)
            if self._number_of.get(pseudonym) == number:
                del self._number_of[pseudonym]
                return pseudonym, (deadline_ms, offset)
        return None
