"""The partition store against a plain model of it, and what its changelog makes of another."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from model.spec import item_hash
from stream_app.core.batch import Route
from stream_app.core.changelog import Change
from stream_app.core.config import CoreConfig
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from tests.core.streams import (
    CONFIG,
    KEY,
    START_MS,
    clicks,
    compact,
    event_batch,
    flows,
    played,
    put_event,
    repeatable,
    restored,
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
            put_event(store, name, last_ms, offset)
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
    assert other.record.route(frozenset(), ()) == route
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
        put_event(store, name, START_MS, offset)
    store.remove(NAMES[0])
    first = store.take_changes()
    assert first[0] == (b"u" + NAMES[0], None)
    assert [key for key, _ in first[1:-1]] == [b"u" + name for name in NAMES[1:]]
    assert first[-1][0] == b"p"
    assert [key for key, _ in store.take_changes()] == [b"p"]
