"""Rows are used again and leave nothing behind, however many users come and go."""

from collections.abc import Callable

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.alerts import NO_ALERT, Alert
from stream_app.core.store import PartitionStore
from tests.core.streams import CONFIG, START_MS, put_event, restored

Make = Callable[..., OnnxEngine]
RELAXED = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = [bytes([n]) * 16 for n in range(2)]


def test_room_grows_with_the_users_and_rows_are_used_again(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with()
    store = PartitionStore(0, engine, CONFIG)
    names = [n.to_bytes(16, "big") for n in range(1500)]
    for offset, name in enumerate(names):
        put_event(store, name, START_MS + offset, offset)
    assert sorted(store.occupied().tolist()) == [*range(1500)]
    assert store.columns["last_offset"][store.slots[names[700]]] == 700
    capacity = len(store.rows)
    for round_ in range(3):
        for name in names:
            store.remove(name)
        assert store.users == store.state_bytes == 0
        assert store.idle_since(1 << 60) == []
        assert store.pop_due(1 << 60) is None
        for offset, name in enumerate(names):
            put_event(store, name, START_MS, 2000 * (round_ + 1) + offset)
    assert len(store.rows) == capacity
    other = restored(store.take_changes(), engine)
    assert [*other.slots] == [*store.slots] == names


def test_a_new_user_in_an_old_row_inherits_nothing(tiny_engine_with: Make) -> None:
    store = PartitionStore(0, tiny_engine_with(), CONFIG)
    clean_row = store.add(NAMES[0])
    clean = store.rows[clean_row].tobytes()
    store.rows[clean_row] = np.frombuffer(b"\xa5" * len(clean), store.codec.dtype)[0]
    store.remove(NAMES[0])
    row = store.add(NAMES[1])
    assert row == clean_row
    assert store.rows[row].tobytes() == clean
    assert store.alert(row) is NO_ALERT


@RELAXED
@given(
    alert=st.builds(
        Alert,
        st.integers(0, 1 << 43),
        st.integers(0, 1 << 62),
        st.integers(1, 1 << 31),
        st.integers(0, 100),
        st.integers(0, 9),
        st.floats(0, 1000, width=16),
    )
)
def test_an_alert_survives_its_row(alert: Alert, tiny_engine_with: Make) -> None:
    store = PartitionStore(0, tiny_engine_with(), CONFIG)
    row = store.add(NAMES[0])
    store.set_alert(row, alert)
    assert store.alert(row) == alert
    store.set_alert(row, NO_ALERT)
    assert store.alert(row) is NO_ALERT


@RELAXED
@given(
    offsets=st.lists(st.integers(0, 1 << 40), unique=True, max_size=20), sound=st.integers(0, 20)
)
def test_the_order_of_eviction_follows_from_the_rows(
    offsets: list[int], sound: int, tiny_engine_with: Make
) -> None:
    """Also where the first users stand in it already."""
    store = PartitionStore(0, tiny_engine_with(), CONFIG)
    offsets[:sound] = sorted(offsets[:sound])
    for offset in offsets:
        put_event(store, offset.to_bytes(16, "big"), START_MS, offset)
    store.order()
    assert [int.from_bytes(name, "big") for name in store.slots] == sorted(offsets)
