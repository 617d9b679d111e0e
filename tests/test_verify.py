"""The audit finds whatever is lost, doubled or of no record, and nothing else."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.batch import Record
from stream_app.core.events import Prediction
from stream_app.files import FileEvent
from stream_app.replay import InputRecord, Replay, from_files
from stream_app.verify import Audit, AuditBooks
from tests.core.streams import CONFIG, START_MS, TOPIC, flows, hostile, records

Make = Callable[..., OnnxEngine]
RELAXED = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def packed(value: bytes | None) -> bytes | None:
    """JSON objects as MessagePack, all else as it is."""
    try:
        return msgspec.msgpack.encode(json.loads(value or b""))
    except ValueError:
        return value


@st.composite
def inputs(draw: st.DrawFn) -> list[InputRecord]:
    values = draw(st.one_of(flows(), st.lists(records(), max_size=60)))
    values = [draw(st.sampled_from([value, packed(value)])) for value in values]
    keys = draw(st.lists(st.sampled_from([b"a", b"b", None]), min_size=60, max_size=60))
    events = [FileEvent(key, value or b"") for key, value in zip(keys, values, strict=False)]
    return [*from_files(events, 2)]


def outcomes(rows: list[InputRecord], engine: OnnxEngine) -> tuple[dict[str, list[Record]], Replay]:
    replay = Replay(TOPIC, engine, CONFIG)
    return replay.feed(rows), replay


def is_correction(record: Record) -> bool:
    return msgspec.json.decode(record.value, type=Prediction).revision > 0


def balanced(rows: list[InputRecord], predictions: list[Record], rejected: list[Record]) -> Audit:
    books = AuditBooks()
    for row in rows:
        books.event(row.partition, row.offset, row.value)
    for record in predictions:
        books.prediction(record.value)
    for record in rejected:
        books.refusal(record.value)
    return books.balance()


@RELAXED
@given(rows=inputs())
def test_what_the_core_makes_of_a_stream_is_whole(
    rows: list[InputRecord], tiny_engine_with: Make
) -> None:
    found, replay = outcomes(rows, tiny_engine_with())
    audit = balanced(rows, found["predictions"], found["rejected"])
    counted = replay.totals.outcomes
    assert audit.is_whole, audit.sentence()
    assert audit.records == len(rows)
    assert [audit.predicted, audit.rejected, audit.duplicates, audit.heartbeats] == [
        counted[name] for name in ("predicted", "rejected", "duplicate", "heartbeat")
    ]


@RELAXED
@given(rows=inputs(), data=st.data())
def test_one_missing_doubled_or_strange_outcome_is_found(
    rows: list[InputRecord], data: st.DataObject, tiny_engine_with: Make
) -> None:
    found, _ = outcomes(rows, tiny_engine_with())
    predictions = [record for record in found["predictions"] if not is_correction(record)]
    rejected = found["rejected"]
    assume(predictions)
    at = data.draw(st.integers(0, len(predictions) - 1))
    record = predictions[at]
    row = rows[record.row]
    place = (row.partition, row.offset)

    doubled = balanced(rows, [*predictions, record], rejected)
    assert (doubled.lost, doubled.doubled, doubled.strangers) == ([], [place], [])
    strange = balanced([r for r in rows if r != row], predictions, rejected)
    assert (strange.doubled, strange.strangers) == ([], [place])
    assert not doubled.is_whole
    assert not strange.is_whole
    missing = balanced(rows, predictions[:at] + predictions[at + 1 :], rejected)
    # A repeated event id is a duplicate to whoever does not know what the core remembered.
    if b"event_id" not in (row.value or b""):
        assert (missing.lost, missing.doubled, missing.strangers) == ([place], [], [])
        assert "1 lost, first at partition and offset" in missing.sentence()


def test_later_revisions_are_outside_the_law(tiny_engine_with: Make) -> None:
    value = msgspec.json.encode({"user_id": "u", "timestamp": START_MS})
    rows = [InputRecord(0, 0, -1, None, value)]
    found, _ = outcomes(rows, tiny_engine_with())
    first = msgspec.json.decode(found["predictions"][0].value, type=Prediction)
    later = Record(0, None, msgspec.json.encode(msgspec.structs.replace(first, revision=1)))
    assert balanced(rows, [*found["predictions"], later], []).is_whole
    assert balanced(rows, [later], []).lost == [(0, 0)]


def event(user: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"user_id": user, "timestamp": START_MS} | fields)


def test_silence_is_right_for_heartbeats_and_for_repeats_of_one_user_and_partition_only() -> None:
    books = AuditBooks()
    values = [
        event("u", event_id=7),
        event("u", event_id="7"),  # the same id
        event("v", event_id="7"),
        msgspec.json.encode({"event_type": "_heartbeat", "timestamp": START_MS}),
        event("u", event_id=""),
        event("u", event_id=""),  # no id at all
    ]
    for offset, value in enumerate(values):
        books.event(0, offset, value)
    books.event(1, 0, event("u", event_id="7"))
    audit = books.balance()
    assert (audit.duplicates, audit.heartbeats) == (1, 1)
    assert audit.lost == [(0, 0), (0, 2), (0, 4), (0, 5), (1, 0)]
    assert audit.sentence() == (
        "7 in = 0 predicted + 0 rejected + 1 duplicates + 1 heartbeats; "
        "5 lost, first at partition and offset (0, 0)"
    )


def test_hostile_messages_break_no_books() -> None:
    books = AuditBooks()
    messages = hostile(200, 1)
    for offset, value in enumerate(messages):
        books.event(0, offset, value)
    books.event(0, len(messages), None)
    assert len(books.balance().lost) == len(messages) + 1


def test_a_heartbeat_that_was_rejected_is_no_heartbeat(tiny_engine_with: Make) -> None:
    beat = msgspec.json.encode({"event_type": "_heartbeat", "timestamp": START_MS + 60_001})
    rows = [InputRecord(0, 0, START_MS, None, beat)]
    found, _ = outcomes(rows, tiny_engine_with())
    audit = balanced(rows, [], found["rejected"])
    assert (audit.rejected, audit.heartbeats, audit.is_whole) == (1, 0, True)
