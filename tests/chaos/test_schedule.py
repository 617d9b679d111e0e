from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.schedule import Plan, plan

SEEDS = st.integers(0, 10_000)


@given(SEEDS)
def test_a_plan_is_a_function_of_its_seed(seed: int) -> None:
    assert plan(seed, 25, 10) == plan(seed, 25, 10)
    assert plan(seed, 25, 10) != plan(seed + 1, 25, 10)


@given(SEEDS, st.integers(1, 30))
def test_a_plan_has_its_kills_in_the_order_of_time(seed: int, kills: int) -> None:
    made = plan(seed, 25, kills)
    assert made.kills >= kills
    assert [act.at_ms for act in made.acts] == sorted(act.at_ms for act in made.acts)


@given(SEEDS)
def test_two_of_three_brokers_are_always_up(seed: int) -> None:
    down: set[str] = set()
    for act in plan(seed, 25, 10).acts:
        if act.target.startswith("broker"):
            if act.deed == "start":
                down.remove(act.target)
            else:
                down.add(act.target)
        assert len(down) <= 1
    assert not down


@given(SEEDS)
def test_the_three_workers_are_up_in_the_end(seed: int) -> None:
    last: dict[str, str] = {}
    for act in plan(seed, 25, 10).acts:
        last[act.target] = act.deed
    kept = {last.get(f"worker-{number}", "start") for number in (1, 2, 3)}
    assert kept <= {"start", "resume", "restart"}


def test_twenty_seeds_do_everything_that_can_be_done() -> None:
    plans = [plan(seed, 25, 10) for seed in range(1, 21)]
    acts = Counter(f"{a.target.partition('-')[0]} {a.deed}" for p in plans for a in p.acts)
    assert acts["worker kill"] + acts["broker kill"] >= 200
    workers = ["worker stop", "worker pause", "worker restart", "worker wipe", "worker spoil"]
    orders = ["model promote", "model roll_back", "model shadow", "item block", "user erase"]
    for name in [*workers, "broker kill", "broker stop", *orders]:
        assert acts[name] >= 3, name
    assert any(act.target == "worker-4" or act.target > "worker-4" for p in plans for act in p.acts)
    assert longest_pauses(plans) >= 3
    assert {p.static for p in plans} == {True, False}


def longest_pauses(plans: list[Plan]) -> int:
    """Pauses that outlast the session."""
    found = 0
    for made in plans:
        paused: dict[str, int] = {}
        for act in made.acts:
            if act.deed == "pause":
                paused[act.target] = act.at_ms
            elif act.deed == "resume":
                found += act.at_ms - paused.pop(act.target) > 6_000
    return found


@pytest.mark.parametrize("seed", range(1, 6))
def test_every_kind_of_weather_is_in_every_plan(seed: int) -> None:
    weather = {spell.weather for spell in plan(seed, 25, 10).spells}
    assert weather == {"poison", "late", "leap", "skew"}
