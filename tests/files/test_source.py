import gzip
from pathlib import Path

import pytest

from stream_app.files.event import FileError
from stream_app.files.source import inspect, stream_lines

TEXT = b"user_id,item_id\na,b\n"


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", TEXT, "text"),
        ("a", TEXT, "text"),
        ("a.txt", b'\n {"user_id": "a"}\n', "json"),
        ("a.jsonl", b"nonsense\n", "json"),
        ("a.csv", b"PAR1....", "parquet"),
        ("a.csv", b"", "text"),
    ],
)
@pytest.mark.parametrize("gzipped", [False, True])
def test_the_kind_follows_the_content_and_then_the_name(
    tmp_path: Path, name: str, content: bytes, kind: str, gzipped: bool
) -> None:
    path = tmp_path / (name + ".gz" if gzipped else name)
    path.write_bytes(gzip.compress(content) if gzipped else content)
    if gzipped and kind == "parquet":
        with pytest.raises(FileError, match="gzipped Parquet"):
            inspect(path)
        return
    source = inspect(path)
    assert (source.kind, source.gzipped) == (kind, gzipped)
    if kind != "parquet":
        assert b"\n".join(stream_lines(source, lambda _: None)) == content.removesuffix(b"\n")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x28\xb5\x2f\xfd....", "zstd -d"),
        ("a,b".encode("utf-16"), "save it as UTF-8"),
        (b'[{"user_id": 1}]', "one object a line"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FileError, match=sentence):
        inspect(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.csv cannot be read: No such file"):
        inspect(tmp_path / "none.csv")
    with pytest.raises(FileError, match="is a folder"):
        inspect(tmp_path)


@pytest.mark.parametrize("cut", [5, 20, -12])
def test_a_damaged_gzip_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(TEXT * 100)[:cut])
    with pytest.raises(FileError, match=r"a\.csv\.gz is damaged or cut short"):
        list(stream_lines(inspect(path), lambda _: None))


def test_progress_reaches_the_size_of_the_file_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(TEXT * 100_000))
    source = inspect(path)
    told: list[int] = []
    for _ in stream_lines(source, told.append):
        pass
    assert told == sorted(told)
    assert told[-1] == source.size_bytes == path.stat().st_size


def test_the_head_ends_with_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT * 100_000)
    head = inspect(path).head
    assert 1000 < len(head) < 200_000
    assert set(head) == {b"user_id,item_id", b"a,b"}
