"""Whatever a stranger sent, people see plain text, and all of it that they asked for."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.readable import HEX_LIMIT_BYTES, hex_dump, pretty, printable, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.binary() | st.text().map(str.encode) | JSON.map(msgspec.json.encode))
def test_nothing_in_a_record_moves_the_cursor(content: bytes) -> None:
    line = shown(content)
    assert line.isprintable()
    assert "\x1b" not in line


@given(st.dictionaries(st.text(), JSON))
def test_json_and_messagepack_are_shown_alike(value: dict[str, object]) -> None:
    try:
        packed = msgspec.msgpack.encode(value)
    except OverflowError:  # beyond 64 bits
        return
    assert shown(packed) == shown(msgspec.json.encode(value))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "-"),
        (b"", ""),
        (b"alice", "alice"),
        (b"a", "a"),
        (b'{"a": [1, 2]}', '{"a":[1,2]}'),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"\x1b[2J\r\n", r"\x1b[2J\r\n"),
        ('{"a": "\u009b2J"}'.encode(), r'{"a":"\x9b2J"}'),
        (b"[" * 100_000, "[" * 100_000),
    ],
)
def test_lines(content: bytes | None, line: str) -> None:
    assert shown(content) == line


@given(st.binary() | st.text().map(str.encode) | JSON.map(msgspec.json.encode))
def test_no_line_of_a_pretty_value_moves_the_cursor(content: bytes) -> None:
    lines = pretty(content)
    assert lines
    assert all(line.isprintable() for line in lines)


@given(st.dictionaries(st.text(), JSON))
def test_pretty_json_is_the_same_json(value: dict[str, object]) -> None:
    content = json.dumps(value).encode()  # ASCII: nothing in it needs an escape of ours
    assert json.loads("\n".join(pretty(content))) == value


@given(st.text())
def test_plain_text_is_left_as_it_is_and_nothing_is_dropped(text: str) -> None:
    assert printable(printable(text)) == printable(text)
    assert len(printable(text)) >= len(text)
    assert (printable(text) == text) == text.isprintable()


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (None, ["(null)"]),
        (b"", ["(empty)"]),
        (b'{"a":1,"a":2}', ["{", '  "a": 1,', '  "a": 2', "}"]),
        (b'{"a":', ['{"a":']),
        ("a\u202eb\n\x1b]0;title\x07".encode(), [r"a\u202eb", r"\x1b]0;title\x07"]),
        (msgspec.msgpack.encode({"a": None}), ["(MessagePack)", "{", '  "a": null', "}"]),
        (b"\xff\x1b[2J", ["00000000  ff 1b 5b 32 4a" + " " * 35 + "..[2J"]),
    ],
)
def test_pretty(content: bytes | None, lines: list[str]) -> None:
    assert pretty(content) == lines


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[" * 900 + b"]" * 900, b"\x91" * 100_000])
def test_deep_nesting_is_shown_too(content: bytes) -> None:
    assert pretty(content)


@given(st.binary(max_size=100))
def test_a_hex_dump_holds_every_byte(content: bytes) -> None:
    assert bytes.fromhex("".join(line[10:58] for line in hex_dump(content))) == content


def test_a_long_hex_dump_says_what_it_leaves_out() -> None:
    lines = hex_dump(bytes(HEX_LIMIT_BYTES + 3))
    assert lines[-1] == "... 3 bytes more"
