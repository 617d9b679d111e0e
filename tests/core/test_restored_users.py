"""Users' records in one go make what they make one by one, whatever wrote them."""

from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.changelog import Change
from stream_app.core.generations import KnownModel
from stream_app.core.partition_record import PARTITION_KEY
from stream_app.core.state import StateError, row_dtype
from stream_app.core.store import PartitionStore
from tests.core.streams import CONFIG, START_MS, changelog_of, played, restored

Make = Callable[..., OnnxEngine]
RELAXED = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def values_of(engine: OnnxEngine, count: int) -> list[bytes]:
    """Users' values: some with a full ring, some with an event id too long for the row."""
    events = [
        {"user_id": f"u{n % count}", "timestamp": START_MS + n, "item_id": f"x{n}"}
        | ({"event_id": f"e{n}" * 20} if n % 3 else {})
        for n in range(count * count)
        if n % count <= n // count
    ]
    changelog = played([msgspec.json.encode(one) for one in events], [], engine, CONFIG)[1]
    return [value for key, value in changelog.items() if key.startswith(b"u")]


@RELAXED
@given(
    picks=st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 11)), max_size=40),
    cuts=st.sets(st.integers(0, 40)),
)
def test_records_in_one_go_make_what_they_make_one_by_one(
    picks: list[tuple[int, int | None]], cuts: set[int], tiny_engine_with: Make
) -> None:
    """With deletions, rows of a wider model and long ids anywhere among them."""
    mine, wider = tiny_engine_with(ring_length=4), tiny_engine_with(hidden_width=12, ring_length=4)
    at = row_dtype(wider.spec).fields["generation"][1]  # type: ignore[index]
    values = values_of(mine, 6)
    values += [value[:at] + b"\1" + value[at + 1 :] for value in values_of(wider, 6)]
    records: list[Change] = [
        (b"u" + bytes([user]) * 16, None if pick is None else values[pick]) for user, pick in picks
    ]
    stores = [PartitionStore(0, mine, CONFIG) for _ in range(3)]
    stores[0].restore(records)
    for record in records:
        stores[1].restore([record])
    of_partition = PartitionStore(0, mine, CONFIG).record
    of_partition.models[1] = KnownModel.of(wider)
    for store in stores:
        store.restore([(PARTITION_KEY, msgspec.msgpack.encode(of_partition))])
    bounds = [0, *sorted(cut for cut in cuts if cut < len(records)), len(records)]
    for start, end in pairwise(bounds):
        stores[2].restore(records[start:end])
    whole = []
    for store in stores:
        store.recovered()
        assert len(store.slots) == len(set(store.occupied().tolist()))
        whole.append({key: value for part in store.records(9) for key, value in part})
    assert whole[0] == whole[1] == whole[2]
    last = dict(records)
    for key, value in last.items():
        assert (key in whole[0]) == (value is not None)
        if value is not None and value in values[:6]:
            assert whole[0][key] == value


def test_the_state_of_a_wider_model_is_refused(tiny_engine_with: Make) -> None:
    mine, wider = tiny_engine_with(), tiny_engine_with(hidden_width=12)
    users = {key: value for key, value in changelog_of(wider).items() if key[:1] == b"u"}
    with pytest.raises(StateError, match="another memory width or ring length"):
        restored(users.items(), mine)
