import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.files.columns import assign
from stream_app.files.event import FileEvent
from stream_app.files.jsonlines import events_of, names_in
from stream_app.files.presets import PRESETS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e6, 1e6) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
AS_NAMED = assign(["user_id", "item_id", "timestamp"], None, {}, "a.jsonl")


def read(lines: list[bytes], columns: Any = AS_NAMED, preset: Any = None) -> list[FileEvent]:
    return list(events_of(lines, columns, preset, itertools.count(0, 1_000)))


@given(st.dictionaries(st.sampled_from(["user_id", "item_id", "price", "more"]), JSON))
def test_a_canonical_line_is_passed_on_as_it_is(row: dict[str, Any]) -> None:
    line = msgspec.json.encode(row)
    (event,) = read([b" " + line + b"\r"])
    if any(type(row.get(name)) is int for name in ("user_id", "item_id")):
        expected = {
            name: str(cell) if name.endswith("_id") and type(cell) is int else cell
            for name, cell in row.items()
        }
        assert msgspec.json.decode(event.value) == expected
    else:
        assert event.value == line
    user_id = row.get("user_id")
    known = isinstance(user_id, str | int) and not isinstance(user_id, bool)
    assert event.key == (str(user_id).encode() if known else None)


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[1]",
        b"7",
        b'"a"',
        b'{"user_id": NaN}',
        b'{"user_id":"a"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"user_id":"\\ud800"}',
        b'{"user_id":"\xff"}',
    ],
)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_line_that_is_no_object_passes_as_its_bytes(line: bytes, mapped: bool) -> None:
    columns = assign(["uid", "item_id"], None, {"uid": "user_id"}, "") if mapped else AS_NAMED
    assert read([line], columns) == [(None, line, -1)]


def test_blank_lines_are_no_events() -> None:
    assert read([b"", b"  ", b"\r"]) == []


@given(st.dictionaries(st.sampled_from(["uid", "sku", "user_id", "more"]), JSON))
def test_a_mapping_renames_and_keeps_the_rest(row: dict[str, Any]) -> None:
    columns = assign(["uid", "sku", "timestamp"], None, {"uid": "user_id", "sku": "item_id"}, "")
    (event,) = read([msgspec.json.encode(row)], columns)
    found = msgspec.json.decode(event.value)

    def text(cell: Any) -> Any:
        return str(cell) if type(cell) is int else cell

    assert found.get("more") == row.get("more")
    assert found.get("item_id") == text(row.get("sku"))
    expected = row["uid"] if row.get("uid") is not None else row.get("user_id")
    assert found.get("user_id") == text(expected)
    assert not {"uid", "sku"} & found.keys()


def test_a_preset_and_made_up_times_work_as_for_tables() -> None:
    columns = assign(["user", "item", "behaviour"], PRESETS["taobao"][0], {}, "")
    line = b'{"user":1,"item":2,"behaviour":"pv"}'
    rows = [
        msgspec.json.decode(event.value)
        for event in read([line] * 2, columns, PRESETS["taobao"][0])
    ]
    assert rows == [
        {"user_id": "1", "item_id": "2", "event_type": "view", "timestamp": at} for at in (0, 1_000)
    ]


def test_a_preset_tells_items_from_queries_here_too() -> None:
    preset = PRESETS["trivago"][0]
    columns = assign(list(preset.columns), preset, {}, "")
    names = ("user_id", "action_type", "reference")
    rows = [
        ("u", "clickout item", "7"),
        ("u", "filter selection", "x"),
        ("u", "clickout item", "unknown"),
    ]
    lines = [msgspec.json.encode(dict(zip(names, row, strict=True))) for row in rows]
    columns = columns._replace(without_time=False)
    found = [msgspec.json.decode(event.value) for event in read(lines, columns, preset)]
    assert found == [
        {"user_id": "u", "event_type": "click", "item_id": "7"},
        {"user_id": "u", "event_type": "filter", "query": "x"},
        {"user_id": "u", "event_type": "click"},
    ]


def test_the_session_is_the_user_where_no_line_names_one() -> None:
    columns = assign(["session_id", "item_id", "timestamp"], None, {}, "")
    (event,) = read([b'{"session_id":7,"item_id":"i"}'], columns)
    assert event.key == b"7"
    assert msgspec.json.decode(event.value) == {"session_id": "7", "item_id": "i", "user_id": "7"}


def test_an_arrival_leaves_the_event() -> None:
    line = b'{"user_id":"u","received_at":1700000000000}'
    assert read([line]) == [(b"u", b'{"user_id":"u"}', 1_700_000_000_000)]


def test_names_come_in_the_order_in_which_they_turn_up() -> None:
    assert names_in([b'{"b":1,"a":2}', b"x", b'{"c":1,"a":2}']) == ["b", "a", "c"]
