"""The wire: what is written is read back, and what was written once stays readable."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.events import (
    ALERT_KINDS,
    HEARTBEAT,
    OUTCOMES,
    REASONS,
    TOPICS,
    Anomaly,
    HeaderValue,
    Prediction,
    RawClick,
    RejectedRecord,
)

LAW = settings(deadline=None)
BYTES = st.binary(max_size=40)

# Records as the first release wrote them. A field without a default would make them unreadable.
FIRST: dict[str, str] = {
    "events": '{"user_id":"u1","timestamp":1700000000000}',
    "predictions": (
        '{"event_id":"e1","user":"00ff","source":{"topic":"t","partition":1,"offset":9},'
        '"at_ms":1700000000000,"revision":0,"model":"gru-ab","arm":"live","as_of":0,'
        '"items":[{"item_id":"i1","probability":0.25}],"actions":{"_close":0.5,"view":0.5},'
        '"cart":0.1,"purchase":null,"next_event_ms":1500.5,'
        '"anomaly":{"state":"normal","score":1.5,"p_value":0.75},"fallback":null}'
    ),
    "anomalies": (
        '{"alert_id":"0a","user":"00ff","kind":"surprise","phase":"open","event_id":"e1",'
        '"source":{"topic":"t","partition":1,"offset":9},"at_ms":1,"opened_ms":1,"events":1,'
        '"score":9.5,"p_value":0.0001,"calibration":16384,"threshold":0.001,"model":"gru-ab",'
        '"reasons":[{"what":"item","observed":"i9","probability":0.000075,'
        '"expected":[{"value":"i1","probability":0.25}]}]}'
    ),
    "rejected": (
        '{"reason":"late","detail":"d","topic":"t","partition":1,"offset":9,"timestamp_ms":-1,'
        '"key":"dTE=","key_size":2,"value":null,"value_size":0,"value_blake2b":"00",'
        '"headers":[{"name":"h","value":"AA=="}]}'
    ),
    "items": '{"item_id":"i1"}',
    "control": '{"order":"promote"}',
    "profiles": (
        '{"user":"00ff","as_of_ms":1,"interests":{"shoes":0.5},"price_band":[1.0,2.0],'
        '"activity_by_hour":[0.5],"recency_ms":1,"frequency":2,"monetary":3.0,"churn_risk":null,'
        '"expected_purchases":null,"offer_response":null,"segment":null}'
    ),
    "demand": (
        '{"subject":"i1","kind":"item","horizon_ms":1,"from_ms":0,"forecast":1.0,"low":0.5,'
        '"high":2.0}'
    ),
}


@pytest.mark.parametrize("topic", TOPICS)
def test_records_of_the_first_release_are_readable(topic: str) -> None:
    decoder = msgspec.json.Decoder(TOPICS[topic])
    first = decoder.decode(FIRST[topic])
    assert decoder.decode(msgspec.json.encode(first)) == first
    later = '{"a_field_of_a_later_release":[1],' + FIRST[topic][1:]
    assert decoder.decode(later) == first


@pytest.mark.parametrize("topic", ["predictions", "anomalies", "rejected"])
def test_outputs_are_written_whole_as_before(topic: str) -> None:
    """Nothing is left out, so that every reader finds every field; later fields come behind."""
    again = msgspec.json.encode(msgspec.json.decode(FIRST[topic], type=TOPICS[topic]))
    later = {"predictions": ',"degraded":0}'}
    assert again.decode() == FIRST[topic][:-1] + later.get(topic, "}")


@LAW
@given(
    reason=st.sampled_from(REASONS),
    detail=st.text(max_size=20),
    key=st.none() | BYTES,
    value=st.none() | BYTES,
    headers=st.lists(st.builds(HeaderValue, st.text(max_size=9), BYTES), max_size=3),
)
def test_a_dead_letter_gives_back_every_byte(**fields: Any) -> None:
    record = RejectedRecord(
        topic="t",
        partition=0,
        offset=1,
        timestamp_ms=-1,
        key_size=0,
        value_size=0,
        value_blake2b="",
        **fields,
    )
    assert msgspec.json.decode(msgspec.json.encode(record), type=RejectedRecord) == record


@pytest.mark.parametrize(
    ("topic", "old", "new"),
    [
        ("predictions", '"probability":0.25', '"probability":1.25'),
        ("predictions", '"state":"normal"', '"state":"fine"'),
        ("anomalies", '"phase":"open"', '"phase":"opened"'),
        ("anomalies", '"kind":"surprise"', '"kind":"speed"'),
        ("rejected", '"reason":"late"', '"reason":"early"'),
    ],
)
def test_values_outside_the_contract_are_refused(topic: str, old: str, new: str) -> None:
    assert old in FIRST[topic]
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(FIRST[topic].replace(old, new), type=TOPICS[topic])


def test_the_names_that_code_counts_by_are_those_of_the_wire() -> None:
    assert len({*REASONS}) == len(REASONS) == 11
    assert OUTCOMES == ("predicted", "rejected", "duplicate", "heartbeat")
    fields = {field.name: field.type for field in msgspec.structs.fields(Anomaly)}
    assert get_args(fields["kind"]) == ALERT_KINDS
    assert HEARTBEAT.startswith("_")  # no click can have such an action
    assert "user" in Prediction.__struct_fields__
    assert all(field.default is None for field in msgspec.structs.fields(RawClick))
