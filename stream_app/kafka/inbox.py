"""One partition's arrivals, made contiguous: offsets alone decide what is taken.

A delivery path may repeat a chunk, drop one, or go on behind a hole (Faust does all three around a
rebalance). The log itself may have holes too, from compaction and transaction markers. Both are
told apart by the fetch position that a chunk was read from: a chunk covers ``[start, end)`` whether
or not every offset in it holds a record.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

Rows = Sequence[Any]
"""aiokafka's ConsumerRecord: offset, timestamp, key, value, headers."""

_offset = attrgetter("offset")


class Chunk(NamedTuple):
    """What one poll gave of one partition."""

    topic: str
    partition: int
    start: int  # fetch position that it was read from
    end: int  # fetch position behind it
    rows: Rows  # ascending offsets, all in [start, end)
    received: float  # when the poll returned, in seconds of the performance counter


class Taken(NamedTuple):
    """Rows for one micro-batch, and where the next one has to start."""

    rows: list[Any]
    end: int
    received: float  # of the oldest row
    arrivals: Sequence[tuple[int, float]] = ()  # successive rows of one poll, and when it returned


class Gap(NamedTuple):
    """Offsets ``[expected, found)`` have not been read yet, but what follows them arrived."""

    expected: int
    found: int


class Inbox:
    """Chunks of one partition in the order of their offsets, each offset once."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        """Where the next batch has to start."""
        self.end = expected
        """Where the next chunk has to start."""
        self.size = 0
        """Rows that wait."""
        self._chunks: deque[Chunk] = deque()

    def offer(self, chunk: Chunk) -> Gap | None:
        """Keep what is new of a chunk, or nothing of it where it leaves a gap."""
        if chunk.start > self.end:
            return Gap(self.end, chunk.start)
        if chunk.end <= self.end:
            return None
        rows = chunk.rows[bisect_left(chunk.rows, self.end, key=_offset) :]
        self._chunks.append(chunk._replace(start=self.end, rows=rows))
        self.end = chunk.end
        self.size += len(rows)
        return None

    def take(self, limit: int) -> Taken | None:
        """The oldest rows, at most ``limit`` of them; None where no row waits."""
        rows: list[Any] = []
        arrivals: list[tuple[int, float]] = []
        while self._chunks and len(rows) < limit:
            chunk = self._chunks.popleft()
            room = limit - len(rows)
            part = chunk.rows[:room]
            rows += part
            if part:
                arrivals.append((len(part), chunk.received))
            if len(chunk.rows) > room:
                self.expected = rows[-1].offset + 1
                self._chunks.appendleft(chunk._replace(start=self.expected, rows=chunk.rows[room:]))
            else:
                self.expected = chunk.end
        self.size -= len(rows)
        return Taken(rows, self.expected, arrivals[0][1], arrivals) if rows else None

    def skip_to(self, offset: int) -> None:
        """Give up ``[end, offset)``: the log does not hold it any more."""
        self._chunks.append(Chunk("", -1, self.end, offset, (), 0.0))
        self.end = offset

    def oldest_ms(self) -> int | None:
        """Timestamp of the oldest row that waits, in epoch milliseconds."""
        return next((chunk.rows[0].timestamp for chunk in self._chunks if chunk.rows), None)
