"""The shop's items: categories, brands, prices, what goes with what, and what is in fashion."""

import math
from bisect import bisect
from itertools import accumulate
from random import Random

from stream_app.simulate.config import DAY_MS, SimulatorConfig

_RENEWED_EVERY_MS = DAY_MS // 4
_ZIPF_EXPONENT = 0.9
_WORDS = ("red", "small", "light", "steel", "kids", "sale", "pro", "classic")


class Catalogue:
    """Items are numbers. Within a category they stand in an order (a shelf): neighbours are alike.

    Popularity follows Zipf's law, and each item has a season of 3 to 12 days over which its
    popularity rises and falls several times over; ``renew`` brings it up to a time.
    """

    def __init__(self, config: SimulatorConfig, rng: Random) -> None:
        count, categories = config.items, config.categories
        self.brands = config.brands
        self.category = [item % categories for item in range(count)]
        rng.shuffle(self.category)
        self.brand = [rng.randrange(config.brands) for _ in range(count)]
        level = [math.exp(rng.uniform(1.5, 5.5)) for _ in range(categories)]
        self.price = [
            round(level[category] * math.exp(rng.gauss(0, 0.4)), 2) for category in self.category
        ]
        ranks = list(range(1, count + 1))
        rng.shuffle(ranks)
        self._weight = [rank**-_ZIPF_EXPONENT for rank in ranks]
        self._period_ms = [rng.uniform(3, 12) * DAY_MS for _ in range(count)]
        self._phase = [rng.uniform(0, 2 * math.pi) for _ in range(count)]
        self.shelves: list[list[int]] = [[] for _ in range(categories)]
        self._place = [0] * count
        for item, category in enumerate(self.category):
            self._place[item] = len(self.shelves[category])
            self.shelves[category].append(item)
        self._own_brand: dict[tuple[int, int], list[int]] = {}
        for item in range(count):
            self._own_brand.setdefault((self.category[item], self.brand[item]), []).append(item)
        self._everything = list(range(count))
        self._shares: dict[tuple[int, int], list[float]] = {}
        self._share_of_all: list[float] = []
        self._renew_at_ms = -1
        self.renew(config.start_ms)

    def renew(self, at_ms: int) -> None:
        """Bring fashions up to ``at_ms``, a few times a day."""
        if at_ms < self._renew_at_ms:
            return
        self._renew_at_ms = at_ms + _RENEWED_EVERY_MS
        now = [
            weight * math.exp(1.2 * math.sin(2 * math.pi * at_ms / period + phase))
            for weight, period, phase in zip(
                self._weight, self._period_ms, self._phase, strict=True
            )
        ]
        self._share_of_all = list(accumulate(now))
        self._shares = {
            place: list(accumulate(now[item] for item in items))
            for place, items in self._own_brand.items()
        }

    def trending(self, rng: Random) -> int:
        """An item as popular as it is now in the whole shop."""
        return _drawn(self._everything, self._share_of_all, rng)

    def liked(self, category: int, brand: int, rng: Random) -> int:
        """An item of a category by its popularity, of the brand if there is one."""
        items = self._own_brand.get((category, brand))
        if items is None:
            return rng.choice(self.shelves[category])
        return _drawn(items, self._shares[category, brand], rng)

    def beside(self, item: int, steps: int) -> int:
        """The item so many places further on the same shelf, round the corner if need be."""
        shelf = self.shelves[self.category[item]]
        return shelf[(self._place[item] + steps) % len(shelf)]

    def goes_with(self, item: int, number: int) -> int:
        """The number-th accessory of an item, from the category next to its own."""
        shelf = self.shelves[(self.category[item] + 1) % len(self.shelves)]
        return shelf[(self._place[item] * 3 + number) % len(shelf)]

    def promotion(self, item: int) -> str | None:
        """The promotion that an item is part of."""
        return f"p{self.category[item]}" if item % 11 == 0 else None

    def query(self, item: int) -> str:
        """What one types to find such items."""
        return f"category {self.category[item]} {_WORDS[self.brand[item] % len(_WORDS)]}"


def _drawn(items: list[int], cumulative: list[float], rng: Random) -> int:
    return items[bisect(cumulative, rng.random() * cumulative[-1], 0, len(items) - 1)]
