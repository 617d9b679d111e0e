"""A dump gives back every byte, or says which line does not."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.dump import (
    DumpError,
    DumpRecord,
    decode_line,
    dump_writer,
    encode_line,
    read_dump,
)

content = st.none() | st.binary() | st.text().map(str.encode)
records = st.builds(
    DumpRecord,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp_ms=st.integers(-1, 2**63 - 1),
    timestamp_type=st.sampled_from(["create", "log_append", "none"]),
    key=content,
    value=content,
    headers=st.lists(st.tuples(st.text(), content)).map(tuple),
)
RECORD = DumpRecord(2, 7, 1_700_000_000_000, "log_append", b"alice", b'{"a":1}', (("h", b"x"),))


@given(records)
def test_a_line_gives_back_every_byte(record: DumpRecord) -> None:
    line = encode_line(record)
    assert line.count(b"\n") == 1
    assert decode_line(line) == record


def test_text_is_readable_and_bytes_are_under_another_name() -> None:
    line = json.loads(encode_line(RECORD._replace(value=b"\xff\x00")))
    assert line == {
        "partition": 2,
        "offset": 7,
        "timestamp": 1_700_000_000_000,
        "timestamp_type": "log_append",
        "key": "alice",
        "value_base64": "/wA=",
        "headers": [{"name": "h", "value": "x"}],
    }


@pytest.mark.parametrize("name", ["dump.jsonl", "dump.jsonl.gz"])
def test_a_file_is_whole_or_absent_and_the_same_every_time(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(KeyboardInterrupt), dump_writer(path) as write:
        write(RECORD)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    contents = []
    for _ in range(2):
        with dump_writer(path) as write:
            for offset in range(1000):
                write(RECORD._replace(offset=offset))
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].startswith(b"\x1f\x8b") == name.endswith(".gz")
    assert list(read_dump(path)) == [RECORD._replace(offset=offset) for offset in range(1000)]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"{\n", "truncated"),
        (b"\n", "truncated"),
        (b"\xff\n", "malformed"),
        (b'{"partition": 1}\n', "missing required field `offset`"),
        (encode_line(RECORD).replace(b'"key"', b'"kay"'), "unknown field `kay`"),
        (encode_line(RECORD).replace(b'"log_append"', b'"sundial"'), "sundial"),
        (encode_line(RECORD).replace(b'"key":"alice",', b""), "either key or key_base64"),
        (encode_line(RECORD).replace(b'"key":"alice"', b'"key_base64":"!"'), "base64"),
        (encode_line(RECORD).rstrip(b"\n"), "newline is missing"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: bytes, what: str) -> None:
    path = tmp_path / "dump.jsonl"
    path.write_bytes(encode_line(RECORD) + line)
    reading = read_dump(path)
    assert next(reading) == RECORD
    with pytest.raises(DumpError, match=what) as caught:
        next(reading)
    assert str(caught.value).startswith(f"{path}, line 2: ")


def test_a_gzip_that_was_cut_or_altered_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(encode_line(RECORD) * 1000)
    path = tmp_path / "dump.jsonl.gz"
    altered = whole[:-20] + bytes([whole[-20] ^ 0xFF]) + whole[-19:]
    for broken in (whole[:-9], altered, whole[:40] + b"\x00" * 20 + whole[60:]):
        path.write_bytes(broken)
        with pytest.raises(DumpError, match="line"):
            list(read_dump(path))
