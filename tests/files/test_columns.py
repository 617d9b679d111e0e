import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.files.columns import assign, parse_mapping
from stream_app.files.event import FIELDS, FileError
from stream_app.files.presets import PRESETS


@given(st.permutations(FIELDS))
def test_canonical_names_need_no_mapping(names: list[str]) -> None:
    columns = assign(names, None, {}, "a.csv")
    assert dict(columns.column_of) == {name: name for name in FIELDS}
    assert not columns.session_is_user
    assert not columns.without_time


@given(st.permutations(FIELDS), st.data())
def test_a_mapping_names_columns_and_wins(names: list[str], data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(FIELDS))
    columns = assign([*names, "mine"], None, {"mine": field}, "a.csv")
    assert columns.column_of == {**{name: name for name in FIELDS}, field: "mine"}


def test_a_mapping_wins_over_a_preset() -> None:
    found = ["SessionId", "ItemId", "Time", "Brand"]
    columns = assign(found, PRESETS["serenade"][0], {"Brand": "item_id"}, "a.csv")
    assert columns.column_of["item_id"] == "Brand"
    assert columns.column_of["timestamp"] == "Time"


def test_without_users_the_session_is_the_user() -> None:
    columns = assign(["session_id", "item_id"], None, {}, "a.csv")
    assert columns.session_is_user
    assert columns.column_of["user_id"] == columns.column_of["session_id"] == "session_id"
    assert columns.without_time


def test_missing_columns_are_named_with_what_was_found_and_an_example() -> None:
    with pytest.raises(FileError) as caught:
        assign(["customer", "product_item", "when"], None, {"customer": "user_id"}, "a.csv")
    assert str(caught.value) == (
        "a.csv has no column for item_id; its columns are customer, product_item, when."
        " Say which it is, for example: --map product_item=item_id"
    )


def test_a_first_line_without_names_is_to_be_mapped_by_number() -> None:
    with pytest.raises(
        FileError, match=r"=item_id\. If that is no line of names, .*--map 1=user_id"
    ):
        assign(["17", "a", "b"], None, {}, "a.csv")


def test_many_long_names_are_cut() -> None:
    with pytest.raises(FileError) as caught:
        assign(["x" * 1_000] * 1_000, None, {}, "a.csv")
    assert len(str(caught.value)) < 4_000
    assert "and 970 more" in str(caught.value)


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({"nope": "item_id"}, "no column 'nope' to map; its columns are user_id, item_id, x"),
        ({"x": "itemid"}, "names no field; the fields are user_id, timestamp"),
        ({"x": "item_id", "item_id": "item_id"}, "gives item_id to two columns"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(mapping: dict[str, str], sentence: str) -> None:
    with pytest.raises(FileError, match=sentence):
        assign(["user_id", "item_id", "x"], None, mapping, "a.csv")


def test_a_name_that_stands_twice_is_refused_only_where_it_is_needed() -> None:
    assign(["user_id", "item_id", "x", "x"], None, {}, "a.csv")
    with pytest.raises(FileError, match="2 columns named 'user_id'"):
        assign(["user_id", "item_id", "user_id"], None, {}, "a.csv")


def test_map_arguments_are_read_or_refused() -> None:
    assert parse_mapping(["sku=item_id", "a=b=user_id"]) == {"sku": "item_id", "a=b": "user_id"}
    for argument, sentence in [
        (["item_id"], "has to be column=field"),
        (["=item_id"], "has to be column=field"),
        (["a=item_id", "a=user_id"], "column 'a' twice"),
        (["a=nothing"], "names no field"),
    ]:
        with pytest.raises(FileError, match=sentence):
            parse_mapping(argument)
