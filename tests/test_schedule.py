"""A schedule tells the routes that were recorded, and sailing it needs what they name."""

from typing import Any

import msgspec
import pytest

from model.engine import OnnxEngine
from stream_app.core.batch import Route
from stream_app.core.events import Control, Prediction, Source, Verdict
from stream_app.core.partition_record import PARTITION_KEY, PartitionRecord
from stream_app.core.privacy import pseudonymiser
from stream_app.kafka.side_inputs import SideRecord
from stream_app.orders import CONTROL, Ledger
from stream_app.schedule import Course, Kept, Leg, ScheduleError, schedule_of

PSEUDONYM = pseudonymiser(b"0123456789abcdef")


def recorded(next_offset: int, partition: int = 0, **route: Any) -> Kept:
    record = PartitionRecord(
        model="a-1",
        fingerprint=b"",
        actions=(),
        next_offset=next_offset,
        **{"live": "a-1", **route},
    )
    return Kept(partition, PARTITION_KEY, msgspec.msgpack.encode(record))


def predicted(offset: int, revision: int = 0, **fields: Any) -> Kept:
    prediction = Prediction(
        event_id="e", user="u", source=Source("t", 0, offset), at_ms=0, revision=revision,
        items=[], actions={}, cart=None, purchase=None, next_event_ms=None,
        anomaly=Verdict("normal", 0.0), **{"model": "a-1", "arm": "live", "as_of": 0, **fields},
    )  # fmt: skip
    return Kept(0, b"u", msgspec.json.encode(prediction))


def test_a_changelog_tells_where_each_route_began() -> None:
    schedule = schedule_of(
        [
            recorded(10),
            Kept(0, b"u" + b"x" * 16, b"row"),
            recorded(20),
            recorded(30, live="b-2", as_of=5),
            recorded(30, live="b-2", as_of=6, degraded=1),
            recorded(7, partition=1, shadow="c-3", items_as_of=9),
        ]
    )
    assert schedule == {
        0: [
            Leg(10, Route("a-1")),
            Leg(30, Route("b-2", as_of=5)),
            Leg(30, Route("b-2", as_of=6, degraded=1)),
        ],
        1: [Leg(7, Route("a-1", shadow="c-3", items_as_of=9))],
    }


def test_predictions_tell_it_from_the_first_event_on() -> None:
    records = [predicted(3), predicted(4), predicted(9, as_of=2), predicted(4, 1, as_of=7)]
    schedule = schedule_of([*records, predicted(12, model="b-2", as_of=3, degraded=2)])
    assert [(leg.offset, leg.route.live, leg.route.as_of) for leg in schedule[0]] == [
        (3, "a-1", 0), (9, "a-1", 2), (12, "b-2", 3),
    ]  # fmt: skip
    assert schedule[0][-1].route.degraded == 2


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([], "no route to follow"),
        ([Kept(0, b"k", b"{}"), Kept(0, None, None)], "no route to follow"),
        ([Kept(3, PARTITION_KEY, b"\xff")], "partition 3 cannot be read"),
        ([Kept(3, b"k", b'{"event_id": 1}')], "partition 3 cannot be read"),
    ],
)
def test_what_cannot_be_followed_is_said(records: list[Kept], why: str) -> None:
    with pytest.raises(ScheduleError, match=why):
        schedule_of(records)


def test_a_leg_is_taken_once_at_its_offset_with_what_was_ordered_by_then(
    tiny_engine: OnnxEngine,
) -> None:
    live = tiny_engine.version
    ledger = Ledger(PSEUDONYM)
    orders = [Control(order="block_item", item_id=f"i{n}") for n in range(3)]
    ledger.take(
        CONTROL, [SideRecord(n, b"k", msgspec.json.encode(o)) for n, o in enumerate(orders)]
    )
    legs = {0: [Leg(5, Route(live, as_of=1)), Leg(5, Route(live, as_of=3))]}
    course = Course(legs, ledger, {live: tiny_engine})
    assert course.take(0, 4) is None
    assert course.take(1, 9) is None
    blocked = [leg.route.blocked for _ in range(2) if (leg := course.take(0, 6))]
    assert blocked == [{"i0"}, {"i0", "i1", "i2"}]
    assert course.take(0, 99) is None
    assert [*course.partitions] == [0]


def test_models_and_orders_that_are_missing_are_named(tiny_engine: OnnxEngine) -> None:
    legs = {0: [Leg(5, Route(tiny_engine.version, as_of=4)), Leg(6, Route("gone-1"))]}
    with pytest.raises(ScheduleError, match=r"not there: gone-1\. .*--models"):
        Course(legs, Ledger(PSEUDONYM), {tiny_engine.version: tiny_engine})
    with pytest.raises(ScheduleError, match="up to offset 4, but only those below 0"):
        Course({0: legs[0][:1]}, Ledger(PSEUDONYM), {tiny_engine.version: tiny_engine})
