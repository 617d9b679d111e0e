"""The partition store against a plain model of it, its changelog, and changelogs of strangers."""

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from model.spec import item_hash
from stream_app.core.alerts import NO_ALERT, Alert
from stream_app.core.batch import OutputBatch, Route
from stream_app.core.config import CoreConfig
from stream_app.core.pipeline import play
from stream_app.core.state import StateError
from stream_app.core.store import Change, PartitionRecord, PartitionStore
from tests.core.streams import (
    CONFIG,
    KEY,
    START_MS,
    clicks,
    compact,
    event_batch,
    flows,
    played,
)

Make = Callable[..., OnnxEngine]
RELAXED = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = [bytes([n]) * 16 for n in range(6)]
MINUTE_MS = 60_000


class Told(NamedTuple):
    """What the plain model knows of a user."""

    last_ms: int
    offset: int
    is_open: bool


@st.composite
def orders(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """(what, user, minutes): an event of a user, time passing, eviction, expiry, or a crash."""
    kinds = st.sampled_from(["event", "event", "event", "time", "evict", "expire", "crash"])
    return draw(
        st.lists(st.tuples(kinds, st.integers(0, len(NAMES) - 1), st.integers(0, 45)), max_size=50)
    )


def event(store: PartitionStore, name: bytes, at_ms: int, offset: int) -> None:
    """What pass 1 does with a store for one event."""
    row = store.slots.get(name)
    if row is None:
        row = store.add(name)
    column = store.columns
    column["last_event_ms"][row] = at_ms
    column["last_offset"][row] = offset
    column["session_open"][row] = 1
    column["sessions_total"][row] = 1
    store.touch(name)
    store.set_timer(name, row)


def restored(changelog: Iterable[Change], engine: OnnxEngine) -> PartitionStore:
    store = PartitionStore(0, engine, CONFIG)
    store.restore(changelog)
    store.recovered()
    return store


def repeatable(out: OutputBatch) -> OutputBatch:
    """Without what is kept in process only."""
    out.recall = None
    return out


@RELAXED
@given(steps=orders())
def test_timers_and_orders_are_those_of_a_plain_list(
    steps: list[tuple[str, int, int]], tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with()
    store, told = PartitionStore(0, engine, CONFIG), dict[bytes, Told]()
    changelog: dict[bytes, bytes] = {}
    now_ms, gap_ms = START_MS, engine.spec.session_gap_ms
    for offset, (what, user, minutes) in enumerate(steps):
        name = NAMES[user]
        if what == "event":
            last_ms = max(told[name].last_ms if name in told else 0, now_ms + minutes * 1000)
            event(store, name, last_ms, offset)
            told[name] = Told(last_ms, offset, True)
        elif what == "time":
            now_ms += minutes * MINUTE_MS
            due = sorted(
                (t.last_ms + gap_ms, t.offset, name)
                for name, t in told.items()
                if t.is_open and t.last_ms + gap_ms <= now_ms
            )
            for deadline, _, expected in due:
                assert store.pop_due(now_ms) == (deadline, expected, store.slots[expected])
                store.columns["session_open"][store.slots[expected]] = 0
                store.mark(expected)
                told[expected] = told[expected]._replace(is_open=False)
            assert store.pop_due(now_ms) is None
        elif what == "evict" and told:
            oldest = min(told, key=lambda one: told[one].offset)
            assert store.oldest() == oldest
            store.remove(oldest)
            del told[oldest]
        elif what == "expire":
            before_ms = now_ms - minutes * MINUTE_MS
            idle = [one for one in told if told[one].last_ms < before_ms]
            idle.sort(key=lambda one: told[one].offset)
            assert store.idle_since(before_ms) == idle
        elif what == "crash":
            compact(changelog, store.take_changes())
            store = restored(changelog.items(), engine)
        assert [*store.slots] == sorted(told, key=lambda one: told[one].offset)
        assert store.users == len(told)


@RELAXED
@given(
    values=flows(items=40),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    crashes=st.lists(st.integers(0, 6), max_size=4),
    users=st.sampled_from([2, 3, 100]),
    rate=st.sampled_from([0.4, 0.2]),
    known=st.sampled_from([30, 5]),  # of 40 items
)
def test_a_crash_between_any_two_batches_is_not_noticed(
    values: list[bytes | None],
    cuts: list[int],
    crashes: list[int],
    users: int,
    rate: float,
    known: int,
    tiny_engine_with: Make,
) -> None:
    engine = tiny_engine_with(ring_length=4, item_count=known, top_k=5)
    config = CoreConfig(
        pseudonym_key=KEY,
        reservoir_size=256,
        alert_rate=rate,
        max_users_per_partition=users,
        user_ttl_ms=86_400_000,
        max_transitions=16,
    )
    single = played(values, [*range(1, len(values))], engine, config)
    cuts = [min(cut, len(values)) for cut in cuts]
    assert played(values, cuts, engine, config, crashes)[:2] == single[:2]


def test_a_crash_keeps_the_order_in_which_transitions_are_forgotten(
    tiny_engine_with: Make,
) -> None:
    engine, config = tiny_engine_with(), msgspec.structs.replace(CONFIG, max_transitions=16)
    items = ["a", "b", "a", "c", *(f"x{n}" for n in range(15))]  # a is learned from twice
    values = [
        msgspec.json.encode({"user_id": "u", "timestamp": START_MS + n, "item_id": item})
        for n, item in enumerate(items)
    ]
    undisturbed = played(values, [4], engine, config)
    assert played(values, [4], engine, config, crashes=[0])[:2] == undisturbed[:2]
    sources = [int.from_bytes(key[1:], "big") for key in undisturbed[1] if key[:1] == b"t"]
    assert item_hash("a") in sources
    assert item_hash("b") not in sources


@RELAXED
@given(values=flows(), data=st.data())
def test_a_store_from_its_changelog_goes_on_as_before(
    values: list[bytes | None], data: st.DataObject, tiny_engine_with: Make
) -> None:
    """Also when compaction has not happened yet, and records come again from the start."""
    engine = tiny_engine_with(ring_length=4)
    store, log = PartitionStore(0, engine, CONFIG), list[Change]()
    engines, route = {engine.version: engine}, Route(engine.version, as_of=9)
    play(event_batch([]), store, engines, Route(engine.version), next_route=route)
    log += store.take_changes()
    for offset, value in enumerate(values):
        play(event_batch([value], offset), store, engines, route)
        log += store.take_changes()
    again = data.draw(st.integers(0, len(log)))
    other = restored([*log[:again], *log], engine)
    assert other.route(frozenset(), ()) == route
    assert other.next_offset == store.next_offset == len(values)
    assert other.watermark_ms == store.watermark_ms
    assert other.record.as_of == store.record.as_of == 9
    held = {key: value for key, value in log if key[:1] == b"u"}
    packed = sum(len(value or b"") for value in held.values())
    assert other.state_bytes == store.state_bytes == packed
    assert sum(store.record.outcomes.values()) == len(values)
    assert other.record.outcomes == store.record.outcomes
    more = data.draw(st.lists(clicks(), max_size=20))
    batch = event_batch(more, len(values))
    assert repeatable(play(batch, other, engines, route)) == repeatable(
        play(batch, store, engines, route)
    )
    assert other.take_changes() == store.take_changes()


@RELAXED
@given(
    values=flows(items=40),
    cuts=st.lists(st.integers(0, 50), min_size=1, max_size=8),
    pauses=st.lists(st.integers(0, 3), max_size=20),
    count=st.sampled_from([1, 2, 100, 1000]),
    more=flows(max_size=10),
)
def test_slices_taken_while_batches_are_played_make_the_state_that_the_changelog_makes(
    values: list[bytes | None],
    cuts: list[int],
    pauses: list[int],
    count: int,
    more: list[bytes | None],
    tiny_engine_with: Make,
) -> None:
    """With the changes since the first slice on top, whatever came between two slices."""
    engine = tiny_engine_with(ring_length=4, item_count=30, top_k=5)
    config = msgspec.structs.replace(CONFIG, max_transitions=16, max_users_per_partition=3)
    engines, route = {engine.version: engine}, Route(engine.version)
    bounds = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    batches = [event_batch(values[a:b], a) for a, b in itertools.pairwise(bounds)]
    store, log = PartitionStore(0, engine, config), list[Change]()
    for batch in batches[: len(batches) // 2]:
        play(batch, store, engines, route)
        log += store.take_changes()
    since, snapshot, rest = len(log), list[Change](), iter(batches[len(batches) // 2 :])
    for number, records in enumerate(store.records(count)):
        snapshot += records
        for batch in itertools.islice(rest, pauses[number] if number < len(pauses) else 0):
            play(batch, store, engines, route)
            log += store.take_changes()
    found, told = PartitionStore(0, engine, config), PartitionStore(0, engine, config)
    found.restore([*snapshot, *log[since:]])
    told.restore(log)
    for other in (found, told):
        other.recovered()
    assert _whole(found) == _whole(told) == _whole(store)
    batch = event_batch(more, store.next_offset)
    expected = repeatable(play(batch, store, engines, route))
    assert repeatable(play(batch, found, engines, route)) == expected
    assert found.take_changes() == store.take_changes()


def _whole(store: PartitionStore) -> dict[bytes, bytes | None]:
    return {key: value for records in store.records(50) for key, value in records}


def test_changes_are_given_once_and_the_partition_record_is_the_last(
    tiny_engine_with: Make,
) -> None:
    store = PartitionStore(0, tiny_engine_with(), CONFIG)
    for offset, name in enumerate(NAMES):
        event(store, name, START_MS, offset)
    store.remove(NAMES[0])
    first = store.take_changes()
    assert first[0] == (b"u" + NAMES[0], None)
    assert [key for key, _ in first[1:-1]] == [b"u" + name for name in NAMES[1:]]
    assert first[-1][0] == b"p"
    assert [key for key, _ in store.take_changes()] == [b"p"]


def test_room_grows_with_the_users_and_rows_are_used_again(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with()
    store = PartitionStore(0, engine, CONFIG)
    names = [n.to_bytes(16, "big") for n in range(1500)]
    for offset, name in enumerate(names):
        event(store, name, START_MS + offset, offset)
    assert sorted(store.slots.values()) == [*range(1500)]
    assert store.columns["last_offset"][store.slots[names[700]]] == 700
    capacity = len(store.rows)
    for round_ in range(3):
        for name in names:
            store.remove(name)
        assert store.users == store.state_bytes == 0
        assert store.idle_since(1 << 60) == []
        assert store.pop_due(1 << 60) is None
        for offset, name in enumerate(names):
            event(store, name, START_MS, 2000 * (round_ + 1) + offset)
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


# --- the edge: sealing, and changelogs that are not this store's


def test_every_value_goes_through_seal_and_open(tiny_engine_with: Make) -> None:
    def seal(key: bytes, value: bytes) -> bytes:
        return b"sealed" + key + value

    def open_(key: bytes, value: bytes) -> bytes:
        assert value.startswith(b"sealed" + key)
        return value.removeprefix(b"sealed" + key)

    engine = tiny_engine_with()
    engines, route = {engine.version: engine}, Route(engine.version)
    store = PartitionStore(0, engine, CONFIG, seal, open_)
    values = [
        msgspec.json.encode({"user_id": f"u{n % 3}", "timestamp": START_MS + n, "item_id": f"x{n}"})
        for n in range(40)
    ]
    play(event_batch(values), store, engines, route)
    changes = store.take_changes()
    assert {key[:1] for key, _ in changes} == {b"u", b"c", b"t", b"p"}
    assert all(value is None or value.startswith(b"sealed" + key) for key, value in changes)
    other = PartitionStore(0, engine, CONFIG, seal, open_)
    other.restore(changes)
    other.recovered()
    batch = event_batch(values, 40)
    assert repeatable(play(batch, other, engines, route)) == repeatable(
        play(batch, store, engines, route)
    )


def changelog_of(engine: OnnxEngine, config: CoreConfig = CONFIG) -> dict[bytes, bytes]:
    values = [
        msgspec.json.encode({"user_id": f"u{n % 3}", "timestamp": START_MS + n, "item_id": f"x{n}"})
        for n in range(40)
    ]
    return played(values, [], engine, config)[1]


def test_the_state_of_a_wider_model_is_refused(tiny_engine_with: Make) -> None:
    mine, wider = tiny_engine_with(), tiny_engine_with(hidden_width=12)
    users = {key: value for key, value in changelog_of(wider).items() if key[:1] == b"u"}
    with pytest.raises(StateError, match="another memory width or ring length"):
        restored(users.items(), mine)


@pytest.mark.parametrize("key", [b"", b"x", b"user-1", b"u" + b"0" * 15, b"c\x00", b"pp", b"t123"])
def test_the_keys_of_another_program_are_refused(key: bytes, tiny_engine_with: Make) -> None:
    store = PartitionStore(0, tiny_engine_with(), CONFIG)
    with pytest.raises(StateError, match=r"choose another worker\.app_id"):
        store.restore([(key, b"value")])


@settings(parent=RELAXED, max_examples=150)
@given(
    kind=st.sampled_from([b"u", b"p", b"c", b"t"]),
    name=st.sampled_from([b"", b"\0\0\0", b"\2\0\0", b"\1\0\1", b"abcd", b"u" * 16])
    | st.binary(max_size=20).filter(lambda name: len(name) != 3),
    value=st.none() | st.binary(max_size=60) | st.binary(max_size=9).map(msgspec.msgpack.encode),
)
def test_any_record_is_applied_or_refused_as_state(
    kind: bytes, name: bytes, value: bytes | None, tiny_engine_with: Make
) -> None:
    store = PartitionStore(0, tiny_engine_with(), CONFIG)
    try:
        store.restore([(kind + name, value)])
    except StateError as error:
        assert str(error)
        return
    store.recovered()


@RELAXED
@given(data=st.data())
def test_a_record_with_bytes_cut_or_changed_is_applied_or_refused(
    data: st.DataObject, tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with()
    changelog = changelog_of(engine)
    key = data.draw(st.sampled_from(sorted(changelog)))
    value = changelog[key]
    at = data.draw(st.integers(0, len(value) - 1))
    changed = data.draw(
        st.sampled_from([value[:at], value[:at] + b"\xff" + value[at + 1 :], value + b"\0"])
    )
    try:
        restored((changelog | {key: changed}).items(), engine)
    except StateError as error:
        assert str(error)


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
