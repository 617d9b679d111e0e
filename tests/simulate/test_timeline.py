# ruff: noqa: S311 (a simulation)

import itertools
import json
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.clean import Click, reader
from stream_app.core.config import CoreConfig
from stream_app.simulate import ATTACKS, SimulatedEvent, SimulatorConfig, simulate

CONFIG = SimulatorConfig(users=400, items=200, categories=10, attack_every_events=500)
CONFIG = replace(CONFIG, events_per_second=3.0)


def events(config: SimulatorConfig, seed: int, count: int) -> list[SimulatedEvent]:
    return list(itertools.islice(simulate(config, Random(seed)), count))


def rows(found: list[SimulatedEvent]) -> list[Any]:
    return [json.loads(event.event.value) for event in found]


MANY = events(CONFIG, 1, 20_000)


@settings(max_examples=10, deadline=None)
@given(st.integers(), st.sampled_from([0.0, 0.1]))
def test_a_seed_gives_the_same_events_and_another_seed_gives_others(seed: int, dirt: float) -> None:
    config = replace(CONFIG, dirt=dirt)
    first = events(config, seed, 400)
    assert events(config, seed, 400) == first
    assert events(config, seed + 1, 400) != first


def test_another_start_is_another_day_of_the_same_shop() -> None:
    later = replace(CONFIG, start_ms=CONFIG.start_ms + 7 * 86_400_000)

    def prices(found: list[SimulatedEvent]) -> dict[str, float]:
        return {row["item_id"]: row["price"] for row in rows(found) if "item_id" in row}

    def sessions(found: list[SimulatedEvent]) -> set[str]:
        return {row["session_id"] for row in rows(found)}

    other = events(later, 1, 20_000)
    assert prices(other) == prices(MANY)
    assert sessions(other).isdisjoint(sessions(MANY))
    items = [row.get("item_id") for row in rows(MANY)]
    assert items[:1_000] != [row.get("item_id") for row in rows(other)][:1_000]


def test_events_arrive_in_the_order_of_their_times() -> None:
    arrivals = [event.arrived_ms for event in MANY]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] >= CONFIG.start_ms
    for event, row in zip(MANY, rows(MANY), strict=True):
        replayed = event.label is not None and event.label.attack == "replay"
        assert row["timestamp"] == event.arrived_ms or replayed


def test_every_event_is_accepted_by_the_core() -> None:
    read = reader(CoreConfig(pseudonym_key=b"k" * 16))
    assert all(isinstance(read(*event.event[:2], -1), Click) for event in MANY)
    assert {event.event.key for event in MANY} == {row["user_id"].encode() for row in rows(MANY)}


def test_labels_name_attacks_and_never_travel_with_the_events() -> None:
    labelled = [event for event in MANY if event.label is not None]
    kinds = Counter(event.label.attack for event in labelled if event.label is not None)
    assert set(kinds) == set(ATTACKS)
    for event, row in zip(MANY, rows(MANY), strict=True):
        assert not {"label", "attack", "attack_id", "campaign"} & row.keys()
        for kind in ATTACKS:
            assert kind.encode() not in event.event.value
        if event.label is not None:
            assert event.label.event_id == row["event_id"]
            assert event.label.user_id == row["user_id"]


def test_honest_users_do_the_same_whether_or_not_there_are_attacks_and_dirt() -> None:
    """Up to the first account that is taken over, whose owner cannot come meanwhile."""
    honest = [event for event in MANY if event.label is None]
    count = next(
        number
        for number, event in enumerate(MANY)
        if event.label is not None and event.label.attack == "takeover"
    )
    alone = events(replace(CONFIG, attacks=()), 1, len(honest))
    same = [event for event in MANY[:count] if event.label is None]
    assert alone[: len(same)] == same
    assert len(same) > 500

    dirty = events(replace(CONFIG, attacks=(), dirt=0.2), 1, 3_000)
    clean = {event.event.value for event in alone}
    assert 0.85 < sum(event.event.value in clean for event in dirty) / len(dirty) < 0.999


def test_ids_are_unique_but_for_replays() -> None:
    ids = Counter(row["event_id"] for row in rows(MANY))
    twice = {event_id for event_id, count in ids.items() if count > 1}
    replayed = {e.label.event_id for e in MANY if e.label and e.label.attack == "replay"}
    assert twice <= replayed
    assert twice


def test_a_user_has_one_session_at_a_time() -> None:
    ended: set[str] = set()
    now: dict[str, str] = {}
    for event, row in zip(MANY, rows(MANY), strict=True):
        if event.label is not None:
            continue
        user, session = row["user_id"], row["session_id"]
        if now.get(user) != session:
            assert session not in ended
            ended.add(now.get(user, ""))
            now[user] = session


def test_dirt_is_in_the_share_that_was_asked_for() -> None:
    config = replace(CONFIG, attacks=(), dirt=0.1)
    found = events(config, 1, 20_000)
    ids = Counter(row["event_id"] for row in rows(found))
    late = missing = 0
    for event, row in zip(found, rows(found), strict=True):
        twice = ids[row["event_id"]] > 1
        late += row.get("timestamp") != event.arrived_ms and not twice and "timestamp" in row
        missing += not {"user_id", "timestamp", "session_id", "event_type"} <= row.keys()
    twice_total = sum(count - 1 for count in ids.values())
    assert min(late, missing, twice_total) > 100
    # A search without its item is no dirt that could be seen.
    assert 0.085 < (late + missing + twice_total) / 20_000 < 0.11


def test_traffic_has_the_rate_that_was_asked_for_from_its_beginning() -> None:
    config = replace(CONFIG, attacks=(), day_cycle=0.0)
    found = events(config, 1, 20_000)
    seconds = (found[-1].arrived_ms - config.start_ms) / 1_000
    assert 20_000 / seconds == pytest.approx(3.0, rel=0.08)
    first = sum(event.arrived_ms < config.start_ms + 600_000 for event in found) / 600
    assert first == pytest.approx(3.0, rel=0.15)
