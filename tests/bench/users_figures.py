"""What users cost: CPU per event as they and their histories grow, bytes of state, memory.

    python -m tests.bench.users_figures ITEMS [--users N] [--rounds N]

Users are made, not replayed: each has a full ring, an open session and counters of a long past, and
is put into the stores as a restart puts it there. CPU is that of the core and the changelog's
records, in turn with the small store of the same round; batches hold each of their users once, as
many in either store. Prints a JSON object.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np

# What a worker holds besides the state.
import stream_app.app  # noqa: F401
from model.engine import OnnxEngine, open_engine
from stream_app.core.batch import EventBatch, Route
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from tests.bench.course import SHOPS, course_folder
from tests.bench.oracle import core_config
from tests.bench.race import rss_bytes
from tests.core.streams import event_batch

NOW_MS = 1_790_000_000_000
MANY_USERS, FEW_USERS, OLD_USERS = 1_000_000, 1_000, 100
MANY_EVENTS, FEW_EVENTS = 100_000, 10
BATCH, BATCHES, RESTORED_AT_ONCE = 512, 8, 4_096


class Crowd(NamedTuple):
    """A partition's users, who have done so much each."""

    store: PartitionStore
    users: int
    rng: np.random.Generator

    def name(self, number: int) -> str:
        """Made when it is needed: what is measured is the store's memory."""
        return f"user-{self.store.partition}-{number}"


def crowd(engine: OnnxEngine, users: int, events: int, partition: int = 0) -> Crowd:
    """Users with state, as out of the changelog."""
    store = PartitionStore(partition, engine, core_config())
    pattern, ring = _row(engine, events), engine.spec.ring_length
    made = Crowd(store, users, np.random.default_rng(partition))
    for start in range(0, users, RESTORED_AT_ONCE):
        part = range(start, min(start + RESTORED_AT_ONCE, users))
        rows = np.repeat(pattern, len(part))
        rows["hidden"] = (
            store.rows["hidden"].dtype.type(0.01) * (np.arange(len(part)) % 97)[:, None]
        )
        rows["last_offset"] = part
        values = store.codec.pack(rows)
        keys = [b"u" + store.pseudonym(made.name(number)) for number in part]
        store.restore(zip(keys, values, strict=True))
    store.recovered()
    store.record.next_offset = users
    store.record.watermark_ms = NOW_MS
    assert store.users == users
    assert int(pattern["used"][0]) == min(events, ring)
    return made


def _row(engine: OnnxEngine, events: int) -> Any:
    """A user who did something every minute, up to just now."""
    store = PartitionStore(0, engine, core_config())
    number = store.add(bytes(16))
    row = store.rows[number : number + 1].copy()
    used = min(events, engine.spec.ring_length)
    row["used"], row["next"] = used, used % engine.spec.ring_length
    row["session_open"], row["sessions_total"] = 1, 1 + events // 20
    row["events_total"], row["session_events"] = events, min(events, 20)
    row["last_event_ms"] = row["session_started_ms"] = NOW_MS
    row["ring_base_ms"] = NOW_MS - 60_000 * used
    entries = row["ring"][0]
    entries["at"][:used] = 60_000 * np.arange(1, used + 1)
    entries["item"][:used] = 1 + np.arange(used)
    entries["action"][:used] = 2
    entries["id_low"][:used] = 1 + np.arange(used)
    return row


def cpu_us_per_event(of: Crowd, engine: OnnxEngine, batch: int) -> float:
    """The best of some batches, each of so many different users."""
    best = float("inf")
    for given in batches_of(of, engine, batch, max(BATCHES, BATCHES * 128 // batch)):
        begun = time.process_time()
        out = play(given, of.store, {engine.version: engine}, Route(engine.version))
        of.store.take_changes()
        best = min(best, (time.process_time() - begun) / batch * 1e6)
        assert out.outcomes["predicted"] == batch, out.outcomes
    return best


def batches_of(of: Crowd, engine: OnnxEngine, size: int, count: int) -> Iterator[EventBatch]:
    """So many batches with a click of each of ``size`` users; play one before taking the next."""
    items = engine.vocabulary.items
    for _ in range(count):
        first = of.store.next_offset
        values = [
            msgspec.json.encode(
                {
                    "event_id": f"e{first + place}",
                    "user_id": of.name(user),
                    "item_id": items[int(of.rng.integers(len(items)))],
                    "event_type": "view",
                    "timestamp": of.store.watermark_ms + 1,
                }
            )
            for place, user in enumerate(of.rng.choice(of.users, size, replace=False).tolist())
        ]
        yield event_batch(values, first, of.store.partition)


def main(words: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    parser.add_argument("items", type=int, choices=[*SHOPS])
    parser.add_argument("--users", type=int, default=MANY_USERS)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(words)
    engine = open_engine(course_folder() / f"model-{given.items}")
    few = crowd(engine, FEW_USERS, FEW_EVENTS)
    old = crowd(engine, OLD_USERS, MANY_EVENTS, 1)
    cpu_us_per_event(few, engine, BATCH)
    before = rss_bytes(os.getpid())
    many = crowd(engine, given.users, MANY_EVENTS, 2)
    rss = rss_bytes(os.getpid())
    many.store.changed.clear()
    packed = next(iter(many.store.records(1)))[0]
    rounds: dict[str, list[float]] = {"users": [], "history": []}
    costs: dict[str, list[float]] = {"few": [], "many": [], "old": []}
    for _ in range(given.rounds):
        base = cpu_us_per_event(few, engine, BATCH)
        wide = cpu_us_per_event(many, engine, BATCH)
        rounds["users"].append(wide / base)
        short, long = (cpu_us_per_event(of, engine, OLD_USERS) for of in (few, old))
        rounds["history"].append(long / short)
        for name, cost in (("few", base), ("many", wide), ("old", long)):
            costs[name].append(cost)
    return {
        "users": given.users,
        "flat_users_by_users": rounds["users"],
        "flat_users_by_history": rounds["history"],
        "cpu_us": costs,
        "state_bytes": len(packed[1] or b""),
        "memory_bytes_per_user": (rss - before) / given.users,
        "rss_gib": rss / 2**30,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1:])) + "\n")
