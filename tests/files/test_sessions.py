import itertools
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.files.event import FileError
from stream_app.files.sessions import prefix_lines, session_events, session_lines, user_lines

ITEM = st.integers(1, 9).map(str)
SESSIONS = st.lists(st.lists(ITEM, min_size=2, max_size=7), max_size=10)


def prefixes(sessions: list[list[str]]) -> list[tuple[str, str]]:
    return [
        (" ".join(items[:end]), items[end])
        for items in sessions
        for end in range(len(items) - 1, 0, -1)
    ]


@given(SESSIONS)
def test_prefix_lines_become_the_sessions_that_they_came_from(sessions: list[list[str]]) -> None:
    lines = [f"{prefix}\t{target}".encode() for prefix, target in prefixes(sessions)]
    rebuilt = [items for _, items in prefix_lines(lines, "a.tsv")]
    assert rebuilt == sessions
    assert Counter(prefixes(rebuilt)) == Counter(prefixes(sessions))


@given(SESSIONS.filter(lambda sessions: any(len(items) > 2 for items in sessions)), st.data())
def test_a_missing_position_is_an_error_and_not_another_session(
    sessions: list[list[str]], data: st.DataObject
) -> None:
    rows = prefixes(sessions)
    shorter = [n for n in range(1, len(rows)) if rows[n - 1][0] == f"{rows[n][0]} {rows[n][1]}"]
    del rows[data.draw(st.sampled_from(shorter))]
    lines = [f"{prefix}\t{target}".encode() for prefix, target in rows]
    try:
        rebuilt = [items for _, items in prefix_lines(lines, "a.tsv")]
    except FileError:
        return
    # Repeated items can make the rest read as whole sessions again; then nothing has changed.
    assert Counter(prefixes(rebuilt)) == Counter(rows)


@pytest.mark.parametrize("line", [b"1 2 3", b"\t3", b"1\t", b"\xff\t1"])
def test_a_line_without_prefix_or_target_is_named(line: bytes) -> None:
    with pytest.raises(FileError, match=r"a\.tsv, line 2: no prefix"):
        list(prefix_lines([b"1\t2", line], "a.tsv"))


def test_sessions_are_numbered_and_stand_for_their_users_with_times_a_second_apart() -> None:
    clock, numbers = itertools.count(5_000, 1_000), itertools.count(1)
    sessions = session_lines([b"7 8\r", b"\xff", b"", b"9"])
    events = list(session_events(sessions, numbers, clock))
    assert [event.value for event in events if event.key is None] == [b"\xff"]
    rows = [msgspec.json.decode(event.value) for event in events if event.key is not None]
    assert [tuple(row.values()) for row in rows] == [
        ("1", "1", "7", 5_000),
        ("1", "1", "8", 6_000),
        ("2", "2", "9", 7_000),
    ]


def test_a_user_line_begins_with_its_user() -> None:
    events = session_events(user_lines([b"u 1 2"]), itertools.count(1), itertools.count(0, 1_000))
    assert [event.key for event in events] == [b"u", b"u"]
