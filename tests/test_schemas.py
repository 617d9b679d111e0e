import copy
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.events import TOPICS
from stream_app.schemas import DIALECT, Schema, breaks, encode, schemas

SCHEMAS = schemas()
VALIDATORS = {name: jsonschema.Draft202012Validator(schema) for name, schema in SCHEMAS.items()}
ANY_NUMBER = st.floats(allow_nan=False, allow_infinity=False)


def structs(struct: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    """Any value of a struct, drawn from what its own annotations allow."""
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    return st.builds(struct, **{field.name: values(field.type) for field in info.fields})


def values(kind: Any) -> st.SearchStrategy[Any]:
    match kind:
        case msgspec.inspect.StructType(cls=cls):
            return structs(cls)
        case msgspec.inspect.UnionType(types=types):
            return st.one_of([values(part) for part in types])
        case msgspec.inspect.LiteralType(values=allowed):
            return st.sampled_from(allowed)
        case msgspec.inspect.ListType(item_type=item):
            return st.lists(values(item), max_size=3)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*map(values, items))
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(values(key), values(value), max_size=3)
        case msgspec.inspect.FloatType(ge=low, le=high):
            return ANY_NUMBER if low is None else st.floats(low, high)
        case msgspec.inspect.IntType():
            return st.integers(-(2**53), 2**53)
        case msgspec.inspect.StrType():
            return st.text(max_size=8)
        case msgspec.inspect.BytesType():
            return st.binary(max_size=8)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
    raise NotImplementedError(f"no strategy for {kind}")


@pytest.mark.parametrize("topic", TOPICS)
@given(data=st.data())
def test_every_encoded_struct_satisfies_its_schema(topic: str, data: st.DataObject) -> None:
    record = data.draw(structs(TOPICS[topic]))
    VALIDATORS[topic].validate(msgspec.json.decode(msgspec.json.encode(record)))


@pytest.mark.parametrize("topic", TOPICS)
def test_a_schema_is_valid_names_its_topic_and_says_what_it_is(topic: str) -> None:
    schema = SCHEMAS[topic]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == DIALECT
    assert schema["$id"] == f"urn:clickahead:schemas:{topic}"
    assert schema["title"] == f"clickahead.{topic}"
    assert schema["description"].startswith(f"clickahead.{topic}")


def test_a_comment_behind_a_field_is_its_description() -> None:
    assert SCHEMAS["predictions"]["properties"]["at_ms"]["description"] == "event time"
    assert SCHEMAS["predictions"]["$defs"]["Verdict"]["properties"]["score"] == {
        "type": "number",
        "description": "nats",
    }


def test_a_wrong_record_is_refused() -> None:
    for wrong in ({}, {"item_id": 1}, {"item_id": "a", "stock": 1.5}):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATORS["items"].validate(wrong)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_schema_does_not_break_itself(topic: str) -> None:
    assert breaks(topic, SCHEMAS[topic], copy.deepcopy(SCHEMAS[topic])) == []


@pytest.mark.parametrize("topic", TOPICS)
@given(data=st.data())
def test_every_removed_or_renamed_field_breaks(topic: str, data: st.DataObject) -> None:
    new = copy.deepcopy(SCHEMAS[topic])
    part = data.draw(st.sampled_from([new, *new.get("$defs", {}).values()]))
    name = data.draw(st.sampled_from(sorted(part["properties"])))
    gone = part["properties"].pop(name)
    part["properties"][f"{name}_2"] = gone
    assert any(
        f".{name}: the field was removed or renamed" in said
        for said in breaks(topic, SCHEMAS[topic], new)
    )


@pytest.mark.parametrize("topic", TOPICS)
def test_a_new_field_with_a_default_breaks_nothing(topic: str) -> None:
    new = copy.deepcopy(SCHEMAS[topic])
    new["properties"]["added"] = {"type": "string", "default": ""}
    assert breaks(topic, SCHEMAS[topic], new) == []


def object_with(field: Schema, *, required: bool = True) -> Schema:
    return {
        "type": "object",
        "properties": {"f": field},
        "required": ["f"] if required else [],
    }


NUMBER, INTEGER, TEXT = {"type": "number"}, {"type": "integer"}, {"type": "string"}
OPTIONAL = {"anyOf": [TEXT, {"type": "null"}]}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (NUMBER, INTEGER, "demand.f: number was allowed, now only integer is"),
        (OPTIONAL, TEXT, "demand.f: null was allowed, now only string is"),
        (TEXT, {"enum": ["a"]}, "demand.f: any value was allowed, now only ['a']"),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, "demand.f: ['b'] was allowed and is not any more"),
        (NUMBER, {"type": "number", "minimum": 0}, "demand.f: minimum rose from none to 0"),
        (
            {"type": "number", "maximum": 2},
            {"type": "number", "maximum": 1},
            "demand.f: maximum fell from 2 to 1",
        ),
        (
            {"type": "array", "items": NUMBER},
            {"type": "array", "items": TEXT},
            "demand.f[]: number was allowed, now only string is",
        ),
        (
            {"type": "object", "additionalProperties": NUMBER},
            {"type": "object", "additionalProperties": INTEGER},
            "demand.f{}: number was allowed, now only integer is",
        ),
        (
            {"type": "array", "prefixItems": [TEXT, NUMBER]},
            {"type": "array", "prefixItems": [TEXT, INTEGER]},
            "demand.f[1]: number was allowed, now only integer is",
        ),
    ],
)
def test_a_narrowed_type_breaks_old_records(old: Schema, new: Schema, said: str) -> None:
    assert said in breaks("demand", object_with(old), object_with(new))


def test_a_newly_required_field_breaks_old_records() -> None:
    said = breaks("events", object_with(TEXT, required=False), object_with(TEXT))
    assert said == ["events.f: the field is newly required; give it a default"]


@pytest.mark.parametrize(("old", "new"), [(INTEGER, NUMBER), (TEXT, OPTIONAL)])
def test_a_widened_type_breaks_subscribers_of_our_topics_alone(old: Schema, new: Schema) -> None:
    assert breaks("events", object_with(old), object_with(new)) == []
    (said,) = breaks("demand", object_with(old), object_with(new))
    assert "subscribers expect" in said


def test_a_field_that_may_now_be_absent_breaks_subscribers_of_our_topics_alone() -> None:
    old, new = object_with(TEXT), object_with(TEXT, required=False)
    assert breaks("control", old, new) == []
    assert breaks("demand", old, new) == [
        "demand.f: subscribers expect the field, now it may be absent"
    ]


def test_an_enum_may_grow() -> None:
    old, new = object_with({"enum": ["a"]}), object_with({"enum": ["a", "b"]})
    assert breaks("anomalies", old, new) == []


def test_the_text_of_a_schema_ends_with_a_line_break_and_keeps_its_order() -> None:
    assert encode({"b": 1, "a": "ä"}) == '{\n  "b": 1,\n  "a": "ä"\n}\n'
