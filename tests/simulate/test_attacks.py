# ruff: noqa: S311 (a simulation)

import heapq
import itertools
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.simulate.attacks import Scene, campaign_events
from stream_app.simulate.catalogue import Catalogue
from stream_app.simulate.click import Campaign, Click, Planned
from stream_app.simulate.config import ATTACKS, Attack, SimulatorConfig
from stream_app.simulate.people import People

CONFIG = SimulatorConfig()
SHOP = Catalogue(CONFIG, Random(1))
PEOPLE = People(CONFIG, Random(2))
VICTIM = PEOPLE.person(7)
START_MS = CONFIG.start_ms
HONEST = {PEOPLE.person(number).name for number in range(CONFIG.users)}
RECENT = tuple(
    Click(f"e{n}", f"u{n % 3}", f"s{n % 3}", f"i{n}", "view", START_MS - 60_000 + n)
    for n in range(30)
)
SEED = st.integers()


def attack(kind: Attack, seed: int, recent: tuple[Click, ...] = RECENT) -> list[list[Planned]]:
    scene = Scene(
        Campaign(kind, f"{kind}-1"),
        START_MS,
        SHOP,
        PEOPLE,
        itertools.count(CONFIG.users),
        VICTIM,
        recent,
    )
    return [list(source) for source in campaign_events(scene, Random(seed))]


@given(st.sampled_from(ATTACKS), SEED)
def test_every_event_of_a_campaign_carries_it_and_time_moves_on(kind: Attack, seed: int) -> None:
    for events in attack(kind, seed):
        assert events
        assert {planned.campaign for planned in events} == {Campaign(kind, f"{kind}-1")}
        times = [planned.at_ms for planned in events]
        assert times == sorted(times)
        assert times[0] >= START_MS
        if kind != "replay":
            assert [planned.click.timestamp for planned in events] == times
            assert all(planned.click.event_id is None for planned in events)


@given(SEED)
def test_a_crawler_goes_through_the_items_at_an_even_pace(seed: int) -> None:
    (events,) = attack("crawler", seed)
    items = [int((planned.click.item_id or "")[1:]) for planned in events]
    assert all((b - a) % CONFIG.items == 1 for a, b in itertools.pairwise(items))
    gaps = [b.at_ms - a.at_ms for a, b in itertools.pairwise(events)]
    mean = sum(gaps) / len(gaps)
    assert all(0.6 * mean < gap < 1.4 * mean for gap in gaps)
    assert {planned.click.event_type for planned in events} == {"view"}
    assert {planned.click.user_id for planned in events}.isdisjoint(HONEST)


@given(SEED)
def test_a_taken_account_has_its_name_and_nothing_else_of_its_owner(seed: int) -> None:
    (events,) = attack("takeover", seed)
    assert {planned.click.user_id for planned in events} == {VICTIM.name}
    assert VICTIM.ip not in {planned.click.ip for planned in events}
    bought = [planned.click for planned in events if planned.click.event_type == "purchase"]
    assert len(bought) >= 4
    items = [int((click.item_id or "")[1:]) for click in bought]
    assert {SHOP.category[item] for item in items}.isdisjoint(VICTIM.categories)


@given(SEED)
def test_a_ring_buys_the_same_items_at_the_same_moments(seed: int) -> None:
    members = attack("ring", seed)
    assert len(members) >= 5
    users = {events[0].click.user_id for events in members}
    assert len(users) == len(members)
    assert users.isdisjoint(HONEST)
    assert len({(events[0].click.ip or "").rpartition(".")[0] for events in members}) == 1
    bought = [
        [(p.click.item_id, p.at_ms) for p in events if p.click.event_type == "purchase"]
        for events in members
    ]
    for together in zip(*bought, strict=True):
        assert len({item for item, _ in together}) == 1
        assert max(at for _, at in together) - min(at for _, at in together) < 20_000


@given(SEED)
def test_a_burst_is_one_item_faster_than_a_hand(seed: int) -> None:
    (events,) = attack("burst", seed)
    assert len({planned.click.item_id for planned in events}) == 1
    assert len(events) >= 60
    assert (events[-1].at_ms - events[0].at_ms) / len(events) < 150


@given(SEED)
def test_a_replay_sends_the_same_ids_and_then_the_same_under_new_ones(seed: int) -> None:
    (events,) = attack("replay", seed)
    half = len(events) // 2
    originals = [planned.click for planned in events[:half]]
    assert all(click in RECENT for click in originals)
    assert len({click.user_id for click in originals}) == 1
    for old, again in zip(events[:half], events[half:], strict=True):
        assert again.click.event_id is None
        again.click.event_id = old.click.event_id
        assert again.click == old.click


def test_a_replay_of_nothing_and_a_takeover_of_nobody_do_not_happen() -> None:
    assert attack("replay", 1, ()) == [[]]
    nobody = Scene(Campaign("takeover", "x"), 0, SHOP, PEOPLE, itertools.count(), None, ())
    assert campaign_events(nobody, Random(1)) == []


@pytest.mark.parametrize("kind", ATTACKS)
def test_a_campaign_is_over_within_minutes(kind: Attack) -> None:
    lengths = Counter[int]()
    for seed in range(50):
        merged = list(heapq.merge(*attack(kind, seed), key=lambda planned: planned.at_ms))
        assert merged[-1].at_ms - START_MS < 600_000
        lengths[len(merged)] += 1
    assert max(lengths) <= 400
