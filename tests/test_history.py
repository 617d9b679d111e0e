"""The past that a changelog tells, and when it tells too little."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.partition_record import PARTITION_KEY, PartitionRecord
from stream_app.history import Commit, Past, Rewind, Row

KEYS = [b"ua", b"ub", b"uc"]
CHANGES = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.integers(0, 99)), max_size=4)


def log_of(batches: list[list[tuple[bytes, int | None]]], span: int = 10) -> list[Row]:
    """A changelog whose batch n ends at input offset (n + 1) * span, a second after the other."""
    rows: list[Row] = []
    for number, changes in enumerate(batches):
        record = PartitionRecord(
            model="m", fingerprint=b"", actions=(), next_offset=(number + 1) * span
        )
        values = [(key, None if n is None else b"%d" % n) for key, n in changes]
        for key, value in [*values, (PARTITION_KEY, msgspec.msgpack.encode(record))]:
            rows.append(Row(len(rows), number * 1_000, key, value))
    return rows


def compacted(rows: list[Row], boundary: int) -> list[Row]:
    """What a log cleaner that came up to an offset leaves: of each key the last one below it."""
    last = {row.key: row.offset for row in rows if row.offset < boundary}
    return [row for row in rows if row.offset >= boundary or last[row.key] == row.offset]


def rewound(rows: list[Row], offset: int, chunk: int = 3) -> Past:
    rewind = Rewind(lambda c: c.record.next_offset <= offset, lambda c: True)
    for at in range(0, len(rows), chunk):
        rewind.add(rows[at : at + chunk])
    return rewind.past()


def folded(rows: list[Row]) -> dict[bytes, bytes]:
    state: dict[bytes, bytes | None] = {row.key: row.value for row in rows}
    return {key: value for key, value in state.items() if value is not None}


def is_exact(past: Past, rows: list[Row]) -> bool:
    if past.witness is None:
        return past.is_whole
    return any(row.offset == past.witness.offset for row in rows)


@given(st.lists(CHANGES, min_size=1, max_size=8), st.data())
def test_the_state_is_that_of_the_last_commit_before(
    batches: list[list[tuple[bytes, int | None]]], data: st.DataObject
) -> None:
    rows = log_of(batches)
    offset = data.draw(st.integers(0, 10 * len(batches) - 1))
    past = rewound(rows, offset, data.draw(st.integers(1, 9)))
    number = offset // 10
    before = [row for row in rows if row.at_ms < number * 1_000]
    assert past.state == folded(before)
    assert [commit.record.next_offset for commit in past.after] == [(number + 1) * 10]
    assert (past.before is None) == (number == 0)
    assert is_exact(past, rows)


@given(st.lists(CHANGES, min_size=1, max_size=8), st.data())
def test_a_compacted_log_tells_the_same_or_is_not_believed(
    batches: list[list[tuple[bytes, int | None]]], data: st.DataObject
) -> None:
    rows = log_of(batches)
    left = compacted(rows, data.draw(st.integers(0, len(rows))))
    offset = data.draw(st.integers(0, 10 * len(batches) - 1))
    past = rewound(left, offset)
    if past.after and is_exact(past, left):
        assert past[:-1] == rewound(rows, offset)[:-1]


@given(st.lists(CHANGES, min_size=3, max_size=8))
def test_what_lies_two_commits_behind_the_cleaner_is_believed(
    batches: list[list[tuple[bytes, int | None]]],
) -> None:
    rows = log_of(batches)
    ends = [row.offset for row in rows if row.key == PARTITION_KEY]
    left = compacted(rows, ends[-3])
    assert is_exact(rewound(left, 10 * len(batches) - 1), left)


def test_commits_are_collected_until_one_is_past() -> None:
    rows = log_of([[(b"ua", 1)]] * 6)

    def at(commit: Commit) -> int:
        return commit.at_ms

    rewind = Rewind(lambda c: at(c) < 2_000, lambda c: at(c) > 3_000)
    rewind.add(rows)
    past = rewind.past()
    assert rewind.done
    assert past.before is not None
    assert (at(past.before), [at(commit) for commit in past.after]) == (
        1_000,
        [2_000, 3_000, 4_000],
    )
