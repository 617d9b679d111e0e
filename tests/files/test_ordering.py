from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_app.files.event import FileEvent
from stream_app.files.ordering import by_time, time_of

KEY = st.none() | st.binary(max_size=4)
EVENT = st.builds(
    FileEvent,
    KEY,
    st.builds(
        lambda at, pad: msgspec.json.encode({"timestamp": at, "pad": pad}),
        st.integers(1_600_000_000_000, 1_600_000_000_020),
        st.text(max_size=5),
    ),
    st.integers(-1, 5),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(EVENT, max_size=40), st.sampled_from([1, 1500, 1 << 20]))
def test_any_size_of_run_sorts_like_sorted(
    tmp_path: Path, events: list[FileEvent], run_bytes: int
) -> None:
    expected = sorted(events, key=lambda event: time_of(event.value) or 0)
    assert list(by_time(events, run_bytes=run_bytes, folder=tmp_path)) == expected
    assert list(tmp_path.iterdir()) == []


def test_a_row_without_a_readable_time_keeps_to_the_row_before_it() -> None:
    def at(second: int) -> FileEvent:
        return FileEvent(b"u", b'{"timestamp":"2024-01-01T00:00:%02dZ"}' % second)

    broken, timeless = FileEvent(None, b"\xff{["), FileEvent(b"u", b'{"timestamp":true}')
    found = list(by_time([at(9), broken, at(3), timeless, at(5)]))
    assert found == [at(3), timeless, at(5), at(9), broken]


def test_the_folder_is_cleared_when_the_reader_stops_early(tmp_path: Path) -> None:
    events = (FileEvent(b"u", b'{"timestamp":%d}' % (1_600_000_000_000 + n)) for n in range(100))
    ordered = by_time(events, run_bytes=1, folder=tmp_path)
    next(ordered)
    assert list(tmp_path.iterdir())
    ordered.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
