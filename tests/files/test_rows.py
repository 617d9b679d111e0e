import itertools
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.files.columns import assign
from stream_app.files.presets import Preset
from stream_app.files.rows import event_of, events_of, identifier, number

NAMES = ["user_id", "item_id", "timestamp", "price", "event_type", "received_at"]


def values(rows: list[Any], names: list[str] = NAMES, preset: Preset | None = None) -> list[Any]:
    columns = assign(names, preset, {}, "a.csv")
    events = events_of(iter(rows), names, columns, preset, itertools.count(0, 1_000))
    return [msgspec.json.decode(event.value) for event in events]


def test_an_empty_cell_is_absent_and_a_wrong_one_stays_what_it_is() -> None:
    assert values([["u", "", "soon", "cheap", "", ""], ["", "i", "-1", "1e999", "x", "never"]]) == [
        {"user_id": "u", "timestamp": "soon", "price": "cheap"},
        {"item_id": "i", "timestamp": -1.0, "price": "1e999", "event_type": "x"},
    ]


@given(st.integers(0, 10**18 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_as_text_is_that_number(value: float) -> None:
    assert number(repr(value)) == value


@given(st.text(max_size=6))
def test_other_text_stays(text: str) -> None:
    found = number(text)
    if found is not text:
        assert float(text) == found
        assert math.isfinite(found)


@pytest.mark.parametrize("text", ["1_000", "nan", "inf", "٣", "", "1,5", "0x1"])
def test_what_only_python_reads_as_a_number_stays_text(text: str) -> None:
    assert number(text) == text


def test_what_json_cannot_say_of_a_number() -> None:
    assert number(math.nan) is None
    assert number(-math.inf) == "-inf"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [(7, "7"), (7.0, "7"), (7.5, 7.5), (math.nan, None), ("7.0", "7.0"), (True, True)],
)
def test_numeric_ids_become_text(cell: object, expected: object) -> None:
    assert identifier(cell) == expected


@pytest.mark.parametrize(
    ("arrival", "received_ms"),
    [
        (1_700_000_000_000, 1_700_000_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("yesterday", -1),
        ([], -1),
    ],
)
def test_the_arrival_is_no_part_of_the_event(arrival: object, received_ms: int) -> None:
    event = event_of({"user_id": "u", "received_at": arrival})
    assert event == (b"u", b'{"user_id":"u"}', received_ms)


def test_a_preset_translates_words_and_tells_items_from_queries() -> None:
    preset = Preset(
        "p",
        "",
        values={"event_type": {"pv": "view"}, "item_id": {"unknown": None}},
        items_of=frozenset({"view"}),
    )
    rows = [["u", "i", "", "", kind, ""] for kind in ("pv", "view", "find")]
    assert values([*rows, ["u", "unknown", "", "", "pv", ""]], preset=preset) == [
        {"user_id": "u", "item_id": "i", "event_type": "view"},
        {"user_id": "u", "item_id": "i", "event_type": "view"},
        {"user_id": "u", "query": "i", "event_type": "find"},
        {"user_id": "u", "event_type": "view"},
    ]


def test_times_are_made_up_where_the_file_has_none() -> None:
    assert [row["timestamp"] for row in values([["u", "i"]] * 3, ["user_id", "item_id"])] == [
        0,
        1_000,
        2_000,
    ]


def test_a_line_that_is_no_row_passes() -> None:
    columns = assign(NAMES, None, {}, "a.csv")
    (event,) = events_of(iter([b"{broken"]), NAMES, columns, None, itertools.count())
    assert event == (None, b"{broken", -1)
