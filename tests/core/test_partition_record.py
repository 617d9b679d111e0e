"""The partition's record: what older ones said is read, and a route is in force as recorded."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.batch import Route
from stream_app.core.partition_record import ROUTE_FIELDS, PartitionRecord
from tests.core.streams import START_MS, restored

Make = Callable[..., OnnxEngine]
ROUTES = st.builds(
    Route,
    st.sampled_from(["m-1", "m-2"]),
    arm=st.sampled_from(["live", "other"]),
    as_of=st.integers(0, 3),
    shadow=st.none() | st.just("m-3"),
    items_as_of=st.integers(0, 3),
    degraded=st.integers(0, 3),
)


@given(one=ROUTES, other=ROUTES)
def test_a_route_is_in_force_until_another_is_recorded(one: Route, other: Route) -> None:
    record = PartitionRecord(model="m-1", fingerprint=b"", actions=())
    record.take_route(one)
    assert record.route(frozenset(), ()) == one
    assert record.erasures_due == (one.as_of > 0)
    record.check_route(one, 5)
    if any(getattr(one, name) != getattr(other, name) for name in ROUTE_FIELDS):
        with pytest.raises(ValueError, match="partition 5: the route says"):
            record.check_route(other, 5)


def test_a_record_of_the_first_release_is_readable(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with()
    first = msgspec.msgpack.encode(
        {
            "format": 2,
            "model": engine.version,
            "fingerprint": engine.fingerprint,
            "actions": engine.spec.actions,
            "next_offset": 77,
            "watermark_ms": START_MS,
            "a_field_of_a_later_release": 1,
        }
    )
    store = restored([(b"p", first)], engine)
    assert (store.next_offset, store.watermark_ms) == (77, START_MS)
    again = msgspec.msgpack.decode(dict(store.take_changes())[b"p"] or b"", type=PartitionRecord)
    assert again == store.record
