# ruff: noqa: S311 (a simulation)

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.simulate.catalogue import Catalogue
from stream_app.simulate.click import Planned, item_name
from stream_app.simulate.config import SimulatorConfig
from stream_app.simulate.people import People
from stream_app.simulate.session import EVENTS_PER_SESSION, Visit

CONFIG = SimulatorConfig()
SHOP = Catalogue(CONFIG, Random(1))
PEOPLE = People(CONFIG, Random(2))
SESSION_GAP_MS = 1_800_000


def visit(seed: int, last_seen: int | None = None) -> list[Planned]:
    person = PEOPLE.person(seed % CONFIG.users)
    return list(Visit(person, "s", 1_000, SHOP, Random(seed), last_seen).events())


@given(st.integers(0, 1 << 40))
def test_a_visit_is_plausible(seed: int) -> None:
    """Time moves on, within the gap of one session; carts come after views, purchases after carts,
    refunds after purchases, removals from carts; only events about items have items."""
    events = visit(seed)
    times = [planned.at_ms for planned in events]
    assert all(0 < after - before < SESSION_GAP_MS for before, after in pairwise(times))
    done: set[tuple[str | None, str | None]] = set()
    for planned in events:
        click = planned.click
        assert click.timestamp == planned.at_ms
        needed = {"cart": "view", "remove": "cart", "purchase": "cart", "refund": "purchase"}
        if click.event_type in needed:
            assert (needed[click.event_type], click.item_id) in done
            assert click.quantity in (1, 2)
        assert (click.item_id is None) == (click.event_type in ("login", "search"))
        assert (click.query is None) == (click.event_type != "search")
        assert (click.dwell_ms is None) == (click.event_type not in ("view", "click"))
        assert (click.price is None) == (click.item_id is None)
        if click.event_type == "purchase":
            assert ("remove", click.item_id) not in done
        done.add((click.event_type, click.item_id))


def test_visits_have_the_mean_length_that_the_traffic_counts_on() -> None:
    events = sum(len(visit(seed)) for seed in range(6_000))
    assert events / 6_000 == pytest.approx(EVENTS_PER_SESSION, rel=0.03)


def test_an_event_is_timed_after_the_dwelling_that_it_tells() -> None:
    """Else the dwelling would give away when the next event comes."""
    for seed in range(200):
        before_ms = 1_000
        for planned in visit(seed):
            assert planned.at_ms - before_ms >= (planned.click.dwell_ms or 0)
            before_ms = planned.at_ms


def test_some_take_up_what_they_left() -> None:
    firsts = Counter(
        next((p.click.item_id for p in visit(seed, last_seen=5) if p.click.item_id), None)
        for seed in range(1_000)
    )
    assert 0.25 < firsts[item_name(5)] / 1_000 < 0.45


def test_the_way_taken_tells_the_next_item_and_the_last_item_alone_does_not() -> None:
    """Who walked to the right along a shelf walks on to the right."""
    right = wrong = 0
    for seed in range(3_000):
        items = [int((p.click.item_id or "i0")[1:]) for p in visit(seed) if p.click.dwell_ms]
        for before, here, after in zip(items, items[1:], items[2:]):  # noqa: B905
            if here == SHOP.beside(before, 1):
                right += after == SHOP.beside(here, 1)
                wrong += after == SHOP.beside(here, -1) and after != before
            elif here == SHOP.beside(before, -1):
                right += after == SHOP.beside(here, -1)
                wrong += after == SHOP.beside(here, 1) and after != before
    assert right > 300
    assert right > 5 * wrong
