"""Outputs differ where a byte differs, and the field is named."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream_app.differences import Difference, differences

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3))
def test_outputs_differ_exactly_where_a_byte_differs(
    one: list[object], other: list[object]
) -> None:
    mine = {"predictions": [msgspec.json.encode(value) for value in one]}
    theirs = {"predictions": [msgspec.json.encode(value) for value in other]}
    assert (differences(mine, theirs) == []) == (mine == theirs)
    assert differences(mine, mine) == []


def test_a_difference_names_the_field() -> None:
    (row,) = differences(
        {"anomalies": [b'{"a":{"b":[1,2]},"c":3}']}, {"anomalies": [b'{"a":{"b":[1,5]},"c":3}']}
    )
    assert row == Difference("anomalies", "a.b[1]", 2, 5)
    (row,) = differences({"anomalies": [b'{"a":1}']}, {"anomalies": [b'{"a": 1}']})
    assert row.field == "bytes"
    (row,) = differences({"anomalies": [b"1"]}, {})
    assert (row.field, row.published, row.recomputed) == ("records", 1, 0)
