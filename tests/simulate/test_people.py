# ruff: noqa: S311 (a simulation)

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from stream_app.simulate.catalogue import Catalogue
from stream_app.simulate.click import user_name
from stream_app.simulate.config import SimulatorConfig
from stream_app.simulate.people import People, favourite_category

CONFIG = SimulatorConfig()


@given(st.integers(0, 1 << 31), st.integers())
def test_a_user_is_the_same_whenever_asked_for(number: int, seed: int) -> None:
    person = People(CONFIG, Random(seed)).person(number)
    assert person == People(CONFIG, Random(seed)).person(number)
    assert len(set(person.categories)) == 3
    assert person.name == user_name(number)


@given(st.sets(st.integers(0, (1 << 32) - 1), max_size=50))
def test_names_are_unique_and_look_alike(numbers: set[int]) -> None:
    names = {user_name(number) for number in numbers}
    assert len(names) == len(numbers)
    assert {len(name) for name in names} <= {9}


def test_some_come_far_more_often_than_others() -> None:
    people, rng = People(CONFIG, Random(1)), Random(2)
    visits = Counter(people.visitor(rng) for _ in range(50_000))
    assert set(visits) <= set(range(CONFIG.users))
    busiest = sum(count for _, count in visits.most_common(CONFIG.users // 10))
    assert 0.18 < busiest / 50_000 < 0.5


def test_a_visit_is_mostly_to_what_one_likes() -> None:
    people, rng = People(CONFIG, Random(1)), Random(2)
    shop = Catalogue(CONFIG, rng)
    person = people.person(7)
    visits = Counter(favourite_category(person, shop, rng) for _ in range(4_000))
    shares = [visits[category] / 4_000 for category in person.categories]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) > 0.85
