"""Small hostile streams for the laws of the core, and one way to play them."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st

from model.spec import Engine
from stream_app.core.batch import EventBatch, OutputBatch, Route
from stream_app.core.changelog import Change
from stream_app.core.config import CoreConfig
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore

START_MS = 1_700_000_000_000
KEY = b"0123456789abcdef"
TOPIC = "clickahead.events"
# A rate of 0.4 needs 25 scores only, so alerts open and close within a short stream.
CONFIG = CoreConfig(pseudonym_key=KEY, reservoir_size=256, alert_rate=0.4)

ACTIONS = ["view", "cart", "purchase", "search", "Add_To_Cart", "unheard of", "_close", None]
_MINUTE_MS = 60_000


@st.composite
def clicks(draw: st.DrawFn, users: int = 4, items: int = 40) -> bytes:
    """A valid click: few users, repeated event ids, known and unknown items, any order of time."""
    event: dict[str, Any] = {
        "user_id": f"u{draw(st.integers(0, users - 1))}",
        "timestamp": START_MS + draw(st.integers(0, 240)) * _MINUTE_MS + draw(st.integers(0, 999)),
        "item_id": draw(st.sampled_from([None, *(f"i{n}" for n in range(items))])),
        "event_type": draw(st.sampled_from(ACTIONS)),
        "session_id": draw(st.sampled_from([None, None, None, "s1", "s2"])),
        "event_id": draw(st.one_of(st.none(), st.integers(0, 30).map(lambda n: f"e{n}"))),
        "dwell_ms": draw(st.one_of(st.none(), st.integers(-5, 10**7))),
    }
    return json.dumps({name: value for name, value in event.items() if value is not None}).encode()


def heartbeats() -> st.SearchStrategy[bytes]:
    days = st.sampled_from([0, 1, 2, 3, 45])
    return days.map(
        lambda n: msgspec.json.encode(
            {"event_type": "_heartbeat", "timestamp": START_MS + n * 86_400_000}
        )
    )


def records() -> st.SearchStrategy[bytes | None]:
    """Mostly clicks, some heartbeats, some rubbish."""
    rubbish = st.one_of(st.none(), st.binary(max_size=40), st.just(b'{"user_id":"u1"}'))
    return st.one_of(clicks(), clicks(), clicks(), clicks(), heartbeats(), rubbish)


# How far an event lies behind or ahead of the newest before it.
_MOVES_MS = st.one_of(
    st.integers(0, 20 * _MINUTE_MS),
    st.sampled_from([0, 1000, 30 * _MINUTE_MS, 31 * _MINUTE_MS, -1000, -600_000, -600_001]),
    st.integers(-90 * _MINUTE_MS, 0),
    st.sampled_from([3_600_000, 86_400_000, 86_400_001]),
)
_SHAPES = st.tuples(
    st.sampled_from(["click"] * 12 + ["heartbeat", "rubbish"]),
    _MOVES_MS,
    st.integers(0, 3),
    st.none() | st.integers(0, 999),
    st.sampled_from(ACTIONS),
    st.sampled_from([None, None, None, None, "s1", "s2"]),
    st.one_of(st.none(), st.integers(0, 30).map(lambda n: f"e{n}")),
)


@st.composite
def flows(draw: st.DrawFn, max_size: int = 50, items: int = 12) -> list[bytes | None]:
    """A stream as time goes by: sessions that end and begin again, now and then something late."""
    values: list[bytes | None] = []
    now_ms = START_MS
    least = draw(st.integers(0, max_size))  # left alone, lists have some five elements
    for kind, move_ms, user, item, action, session, event_id in draw(
        st.lists(_SHAPES, min_size=least, max_size=max_size)
    ):
        at_ms = now_ms + move_ms
        now_ms = max(now_ms, at_ms)
        event = {
            "user_id": f"u{user}",
            "timestamp": at_ms,
            "item_id": None if item is None else f"i{item % items}",
            "event_type": action,
            "session_id": session,
            "event_id": event_id,
        }
        if kind == "heartbeat":
            event = {"timestamp": at_ms, "event_type": "_heartbeat"}
        kept = {name: value for name, value in event.items() if value is not None}
        values.append(b"rubbish" if kind == "rubbish" else json.dumps(kept).encode())
    return values


def in_time(values: Sequence[bytes | None]) -> list[bytes | None]:
    """The messages of a stream in the order of their event time: nothing is late."""
    messages = [value for value in values if value is not None and value.startswith(b"{")]
    return [*sorted(messages, key=lambda value: int(json.loads(value)["timestamp"]))]


def hostile(count: int, seed: int) -> list[bytes]:
    """Messages that are no clicks: noise, huge, deep, of wrong types, in other encodings, cut."""
    rng = np.random.default_rng(seed)
    whole = json.dumps({"user_id": "u1", "timestamp": START_MS, "item_id": "i1"})
    packed = msgspec.msgpack.encode({"user_id": "u1", "timestamp": START_MS})
    never = '{"user_id":"u1","timestamp":%s,"price":%s}'
    kinds: list[Callable[[int], bytes]] = [
        lambda n: b"\xc1" + rng.bytes(n % 300),
        lambda n: b"{" + rng.bytes(1 + n % 300),
        lambda n: whole[: 1 + n % (len(whole) - 1)].encode(),
        lambda n: packed[: 1 + n % (len(packed) - 1)],
        lambda n: whole.encode(("utf-16", "utf-32", "utf-16-le", "utf-8-sig")[n % 4]),
        lambda n: whole.replace("i1", "\xff").encode("latin-1"),
        lambda n: (never % (("NaN", "1" + "0" * 400, "-1", "[]")[n % 4], "1")).encode(),
        lambda n: (never % (START_MS, ("1e999", "NaN", '"1"', "{}", "true")[n % 5])).encode(),
        lambda n: msgspec.msgpack.encode({"user_id": n, "timestamp": float("nan")}),
        lambda n: msgspec.msgpack.encode({"timestamp": START_MS, "price": float("inf")}),
        lambda n: whole.replace('"u1"', ("null", "[1]", '""', "1.5")[n % 4]).encode(),
        lambda n: (b"[", b'{"a":', b"\x91", b"\x81\xa1a")[n % 4] * (600 + n % 900),
    ]
    messages = [kinds[n % len(kinds)](n // len(kinds)) for n in range(count)]
    for place, huge in enumerate([b'{"user_id":"' + b"x" * 1_000_000, b"[" * 100_000] * 3):
        messages[place * 7] = huge
    return messages


def event_batch(
    values: Sequence[bytes | None], first_offset: int = 0, partition: int = 0
) -> EventBatch:
    """Records one after the other, of a producer that gives neither times nor keys."""
    n = len(values)
    return EventBatch(
        topic=TOPIC,
        partition=partition,
        offsets=range(first_offset, first_offset + n),
        timestamps_ms=[-1] * n,
        keys=[None] * n,
        values=values,
        headers=[()] * n,
        next_offset=first_offset + n,
    )


def played(
    values: Sequence[bytes | None],
    cuts: Sequence[int],
    engine: Engine,
    config: CoreConfig = CONFIG,
    crashes: Sequence[int] = (),
) -> tuple[dict[str, list[tuple[bytes | None, bytes]]], dict[bytes, bytes], OutputBatch]:
    """Play a stream cut at ``cuts``; after the batches whose number is in ``crashes`` the store is
    rebuilt from its changelog. Returns outputs by topic, the compacted changelog, the sums."""
    store, changelog = PartitionStore(0, engine, config), dict[bytes, bytes]()
    outputs: dict[str, list[tuple[bytes | None, bytes]]] = {
        name: [] for name in ("predictions", "anomalies", "rejected")
    }
    total = OutputBatch()
    bounds = [0, *sorted(cuts), len(values)]
    for number, (start, end) in enumerate(pairwise(bounds)):
        batch = event_batch(values[start:end], start)
        out = play(batch, store, {engine.version: engine}, Route(engine.version))
        for name, kept in outputs.items():
            kept.extend((record.key, record.value) for record in getattr(out, name))
        for outcome, count in out.outcomes.items():
            total.outcomes[outcome] += count
        total.closed_sessions += out.closed_sessions
        compact(changelog, store.take_changes())
        if number in crashes:
            store = PartitionStore(0, engine, config)
            store.restore(changelog.items())
            store.recovered()
    return outputs, changelog, total


def compact(changelog: dict[bytes, bytes], changes: Sequence[tuple[bytes, bytes | None]]) -> None:
    """What Kafka's compaction leaves: the newest value of each key."""
    for key, value in changes:
        changelog.pop(key, None)
        if value is not None:
            changelog[key] = value


def decoded(records: Sequence[tuple[bytes | None, bytes]]) -> list[Mapping[str, Any]]:
    return [json.loads(value) for _, value in records]


def put_event(store: PartitionStore, name: bytes, at_ms: int, offset: int) -> None:
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
    store.set_timer(row)


def restored(changelog: Iterable[Change], engine: Engine) -> PartitionStore:
    store = PartitionStore(0, engine, CONFIG)
    store.restore(changelog)
    store.recovered()
    return store


def repeatable(out: OutputBatch) -> OutputBatch:
    """Without what is kept in process only."""
    out.recall = None
    return out


def changelog_of(engine: Engine, config: CoreConfig = CONFIG) -> dict[bytes, bytes]:
    values = [
        msgspec.json.encode({"user_id": f"u{n % 3}", "timestamp": START_MS + n, "item_id": f"x{n}"})
        for n in range(40)
    ]
    return played(values, [], engine, config)[1]
