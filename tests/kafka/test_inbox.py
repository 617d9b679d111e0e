"""Whatever the way of delivery does, every offset is taken once and in order."""

import random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.inbox import Chunk, Gap, Inbox


class Row(NamedTuple):
    offset: int
    timestamp: int = 0


logs = st.lists(st.booleans(), max_size=60).map(
    # False is an offset without a record: compacted away, or a transaction's marker.
    lambda holds: [Row(offset, offset * 10) for offset, held in enumerate(holds) if held]
)


def chunk(log: list[Row], start: int, end: int) -> Chunk:
    rows = [row for row in log if start <= row.offset < end]
    return Chunk("t", 0, start, end, rows, float(end))


@given(logs, st.integers(0, 20), st.integers(1, 9), st.integers(0, 2**32))
def test_chunks_repeated_dropped_and_cut_anywhere_leave_every_row_once(
    log: list[Row], first: int, limit: int, seed: int
) -> None:
    draw = random.Random(seed)  # noqa: S311
    size = 60
    inbox, taken, position = Inbox(first), [], first
    for _ in range(1000):
        if inbox.expected >= size:
            break
        if position >= size:
            position = first
        end = min(size, position + draw.randint(1, 12))
        lost = draw.random() < 0.3
        if not lost:
            gap = inbox.offer(chunk(log, position, end))
            assert (gap is None) == (position <= inbox.end)
            if gap is not None:
                assert gap == Gap(inbox.end, position)
        # The next chunk follows, or repeats, or comes from where the inbox asked.
        position = draw.choice([end, position, inbox.end])
        if draw.random() < 0.5:
            waiting = inbox.size
            found = inbox.take(limit)
            assert (found is None) == (waiting == 0)
            if found is not None:
                assert len(found.rows) == min(limit, waiting)
                came = [at for rows, at in found.arrivals for _ in range(rows)]
                assert len(came) == len(found.rows)
                assert found.received == came[0]
                # The chunk that a row came in ended behind it, and began no later.
                assert all(a > r.offset for a, r in zip(came, found.rows, strict=True))
                assert found.end == inbox.expected > found.rows[-1].offset
                taken += found.rows
    else:
        pytest.fail("it takes for ever")
    assert taken == [row for row in log if row.offset >= first]


def test_what_the_log_lost_is_passed_over_behind_what_still_waits() -> None:
    log = [Row(0), Row(1), Row(9)]
    inbox = Inbox(0)
    inbox.offer(chunk(log, 0, 2))
    assert inbox.offer(chunk(log, 9, 10)) == Gap(expected=2, found=9)
    inbox.skip_to(9)
    assert inbox.offer(chunk(log, 9, 10)) is None
    found = inbox.take(10)
    assert found is not None
    assert [row.offset for row in found.rows] == [0, 1, 9]
    assert found.end == 10


def test_a_micro_batch_ends_where_its_last_row_ends_until_the_chunk_is_used_up() -> None:
    """Only then it is known that no record follows before the chunk's end."""
    inbox = Inbox(0)
    inbox.offer(chunk([Row(0), Row(1)], 0, 7))
    first, second = inbox.take(1), inbox.take(1)
    assert first is not None
    assert second is not None
    assert (first.end, second.end) == (1, 7)


def test_the_oldest_row_tells_how_late_a_partition_is() -> None:
    inbox = Inbox(0)
    assert inbox.oldest_ms() is None
    inbox.offer(chunk([Row(0, 50), Row(1, 60)], 0, 2))
    assert inbox.oldest_ms() == 50
    inbox.take(1)
    assert inbox.oldest_ms() == 60
