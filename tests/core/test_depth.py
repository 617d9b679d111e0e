"""The nesting of a message equals what a recursive reading of it finds."""

from time import process_time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.depth import MAX_DEPTH, is_json, too_deep

LAW = settings(deadline=None)

# What goes before and behind the inner value; each is one level, some with an empty container as a
# sibling of the inner value.
JSON_LEVELS = [
    (b"[", b"]"),
    (b' {"a" : ', b"\n}"),
    (b'[1,"]\\"[[",[],', b"]"),
    (b'{"k[\\\\":{},"v":', b',"w":"}}"}'),
    (b"[null,-1.5e3,", b",true]"),
]
PACKED_LEVELS = [
    (b"\x91", b""),
    (b"\x81\xa1a", b""),
    (b"\x94\x01\xa2[{", b"\x90"),
    (b"\xdc\x00\x02\xc4\x03\x91\x91\x91", b""),
    (b"\xde\x00\x02\x01\xcb\x91\x91\x91\x91\x91\x91\x91\x91\x02", b""),
    (b"\xdd\x00\x00\x00\x03\xd9\x02[[\xcd\x91\x91", b""),
    (b"\xdf\x00\x00\x00\x01\xc0", b""),
    (b"\x92\xc7\x02\x05\x91\x91", b""),
    (b"\x92\xd6\x05\x91\x91\x91\x91", b""),
    (b"\x92", b"\x80"),
]


def nesting(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((nesting(inner) for inner in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((nesting(inner) for inner in value), default=0)
    return 0


def decode(value: bytes) -> Any:
    if is_json(value):
        return msgspec.json.decode(value)
    return msgspec.msgpack.Decoder(ext_hook=lambda code, data: bytes(data)).decode(value)


@st.composite
def nested(
    draw: st.DrawFn, levels: list[tuple[bytes, bytes]], leaf: bytes, least: int, most: int
) -> tuple[bytes, int]:
    """Bytes and how deep they nest, counting an empty sibling of the innermost value."""
    count = draw(st.integers(least, most))
    pattern = draw(st.lists(st.sampled_from(levels), min_size=1, max_size=6))
    chosen = [pattern[n % len(pattern)] for n in range(count)]
    head = b"".join(before for before, _ in chosen)
    tail = b"".join(behind for _, behind in reversed(chosen))
    has_sibling = nesting(decode(leaf.join(chosen[-1]))) > 1
    return head + leaf + tail, count + has_sibling


@LAW
@given(small=nested(JSON_LEVELS, b"7", 3, 40))
def test_the_levels_of_json_are_what_a_parser_finds(small: tuple[bytes, int]) -> None:
    value, depth = small
    assert nesting(decode(value)) == depth


@LAW
@given(small=nested(PACKED_LEVELS, b"\x07", 3, 40))
def test_the_levels_of_messagepack_are_what_a_parser_finds(small: tuple[bytes, int]) -> None:
    value, depth = small
    assert nesting(decode(value)) == depth


@LAW
@given(deep=nested(JSON_LEVELS, b"7", MAX_DEPTH - 4, MAX_DEPTH + 4))
def test_json_is_too_deep_beyond_the_limit(deep: tuple[bytes, int]) -> None:
    value, depth = deep
    assert too_deep(value) == (depth > MAX_DEPTH)
    never_closed = value[: value.index(b"7") + 1]
    assert too_deep(never_closed) == too_deep(value)


@LAW
@given(deep=nested(PACKED_LEVELS, b"\x07", MAX_DEPTH - 4, MAX_DEPTH + 4))
def test_messagepack_is_too_deep_beyond_the_limit(deep: tuple[bytes, int]) -> None:
    value, depth = deep
    assert too_deep(value) == (depth > MAX_DEPTH)


@LAW
@given(
    value=st.recursive(
        st.none() | st.integers(-(1 << 63), 1 << 63) | st.text() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    ),
    noise=st.text("[]{}\"\\'\x91", max_size=30),
    raw=st.binary(max_size=30),
)
def test_what_lies_in_strings_does_not_nest(value: Any, noise: str, raw: bytes) -> None:
    event = {"a": noise * 40, "b": value, noise: "x" * MAX_DEPTH}
    assert not too_deep(msgspec.json.encode(event))
    assert not too_deep(msgspec.json.format(msgspec.json.encode(event)))
    assert not too_deep(msgspec.msgpack.encode(event | {"raw": b"\x91" * 600 + raw}))


@LAW
@given(value=st.binary(max_size=60), times=st.sampled_from([1, 30, 900]))
def test_any_bytes_have_a_verdict(value: bytes, times: int) -> None:
    assert too_deep(value * times) in (True, False)
    assert not too_deep((value * times)[:MAX_DEPTH])


@LAW
@given(event=st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=40))
def test_json_objects_and_messagepack_maps_are_told_apart(event: dict[str, int]) -> None:
    assert is_json(msgspec.json.encode(event))
    assert is_json(b" \r\n\t" + msgspec.json.encode(event))
    assert not is_json(msgspec.msgpack.encode(event))


@pytest.mark.parametrize(
    "unit",
    [b'\\"', b'"', b'"\\', b"[]", b'["', b"\x91\x90", b"\xdd\x00\x00\x00\x01", b"\xc0", b"\\"],
)
@pytest.mark.parametrize("head", [b'{"a":"', b'["a"', b"\x91"])
def test_time_grows_with_the_length_and_not_with_its_square(head: bytes, unit: bytes) -> None:
    value = head + unit * ((1 << 16) // len(unit)) + b"[" * (MAX_DEPTH + 8)
    start = process_time()
    too_deep(value)
    assert process_time() - start < 1  # 64 KiB take some 20 ms; the square takes half a minute
