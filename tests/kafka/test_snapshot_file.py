"""A file is whole and of its time, or it is refused; there is nothing in between."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_app.kafka.snapshot_file import (
    HEADER_BYTES,
    Change,
    SnapshotHeader,
    SnapshotInvalid,
    SnapshotWriter,
    read_header,
    read_records,
)

RELAXED = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HEADER = SnapshotHeader(
    app_id="a",
    changelog="a-state-changelog",
    partition=0,
    identity="me",
    since=5,
    until=9,
    checksum=7,
    started_ms=1,
)
frames = st.lists(
    st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=300)), max_size=5), max_size=6
)


def written(path: Path, content: list[list[tuple[bytes, bytes]]]) -> SnapshotHeader:
    with SnapshotWriter(path) as writer:
        for records in content:
            writer.append(records)
        header, size = writer.finish(HEADER)
    assert size == path.stat().st_size
    return header


def read(path: Path) -> list[list[Change]]:
    return [*read_records(path, read_header(path))]


@RELAXED
@given(content=frames)
def test_what_is_read_is_what_was_written(
    content: list[list[tuple[bytes, bytes]]], tmp_path: Path
) -> None:
    header = written(tmp_path / "0.state", content)
    assert read_header(tmp_path / "0.state") == header
    assert header.records == sum(map(len, content))
    assert read(tmp_path / "0.state") == content
    assert [path.name for path in tmp_path.iterdir()] == ["0.state"]


@RELAXED
@given(content=frames, data=st.data())
def test_bytes_cut_changed_or_added_are_refused(
    content: list[list[tuple[bytes, bytes]]], data: st.DataObject, tmp_path: Path
) -> None:
    path = tmp_path / "0.state"
    written(path, content)
    whole = path.read_bytes()
    # Behind the header's own bytes its block is padding, which means nothing.
    matters = [*range(100), *range(HEADER_BYTES, len(whole))]
    at = data.draw(st.sampled_from(matters))
    damaged = data.draw(
        st.sampled_from(
            [whole[:at], whole + b"x", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]]
        )
    )
    path.write_bytes(damaged)
    with pytest.raises(SnapshotInvalid):
        read(path)


def test_frames_of_another_file_do_not_fit(tmp_path: Path) -> None:
    for name, text in (("a", b"one"), ("b", b"two")):
        written(tmp_path / name, [[(b"k", text)], [(b"l", text)]])
    first, second = ((tmp_path / name).read_bytes() for name in "ab")
    size = (len(first) - HEADER_BYTES) // 2
    swapped = first[:HEADER_BYTES] + first[-size:] + first[HEADER_BYTES : HEADER_BYTES + size]
    (tmp_path / "a").write_bytes(swapped)
    with pytest.raises(SnapshotInvalid, match="frame 0 of 2"):
        read(tmp_path / "a")
    assert len(first) == len(second)


def test_what_was_not_finished_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "0.state"
    header = written(path, [[(b"k", b"v")]])
    with pytest.raises(KeyError), SnapshotWriter(path) as writer:
        writer.append([(b"k", b"newer")])
        raise KeyError
    assert read_header(path) == header
    assert [found.name for found in path.parent.iterdir()] == ["0.state"]


def test_a_header_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.state"
    written(path, [])
    path.write_bytes(path.read_bytes().replace(b"ClickAhead state 1", b"ClickAhead state 2"))
    with pytest.raises(SnapshotInvalid, match="of this version"):
        read_header(path)
    assert msgspec.structs.asdict(HEADER)["records"] == 0
