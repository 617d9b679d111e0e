# ruff: noqa: S311 (a simulation)

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from stream_app.simulate.catalogue import Catalogue
from stream_app.simulate.config import DAY_MS, SimulatorConfig

CONFIG = SimulatorConfig(items=200, categories=8)
SHOP = Catalogue(CONFIG, Random(1))
ITEM = st.integers(0, CONFIG.items - 1)


@given(ITEM, st.integers(-100, 100))
def test_the_way_along_a_shelf_leads_back(item: int, steps: int) -> None:
    other = SHOP.beside(item, steps)
    assert SHOP.category[other] == SHOP.category[item]
    assert SHOP.beside(other, -steps) == item


@given(ITEM, st.integers(0, 9))
def test_an_accessory_is_from_another_category(item: int, number: int) -> None:
    accessory = SHOP.goes_with(item, number)
    assert SHOP.category[accessory] == (SHOP.category[item] + 1) % CONFIG.categories


@given(st.integers(0, 7), st.integers(0, CONFIG.brands - 1), st.integers())
def test_what_is_liked_is_of_the_category_and_the_brand(
    category: int, brand: int, seed: int
) -> None:
    item = SHOP.liked(category, brand, Random(seed))
    assert SHOP.category[item] == category
    own = [i for i in SHOP.shelves[category] if SHOP.brand[i] == brand]
    assert item in own or not own


def test_fashions_change_over_days_and_stay_skewed() -> None:
    shop = Catalogue(CONFIG, Random(1))

    def top(at_ms: int) -> list[int]:
        shop.renew(at_ms)
        drawn = Counter(shop.trending(Random(seed)) for seed in range(4_000))
        ranked = drawn.most_common()
        assert sum(count for _, count in ranked[: CONFIG.items // 10]) > 0.3 * 4_000
        return [item for item, _ in ranked[:10]]

    first = top(CONFIG.start_ms)
    assert top(CONFIG.start_ms + DAY_MS // 8) == first  # not renewed yet
    later = top(CONFIG.start_ms + 3 * DAY_MS)
    assert 0 < len(set(first) & set(later)) < 10


def test_every_item_is_on_one_shelf() -> None:
    assert sorted(item for shelf in SHOP.shelves for item in shelf) == list(range(CONFIG.items))
