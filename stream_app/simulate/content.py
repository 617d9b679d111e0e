"""What the shop's catalogue says of its items, vectors of text and image included."""

import math
from collections.abc import Iterator
from random import Random

from stream_app.core.events import Item
from stream_app.simulate.catalogue import Catalogue
from stream_app.simulate.click import item_name

TEXT_NUMBERS, IMAGE_NUMBERS = 24, 16
_WAVES = 4
_NOISE = 0.25


def described_items(shop: Catalogue, rng: Random) -> Iterator[Item]:
    """A record of each item. Its vectors tell, through noise, its category, where it stands on its
    shelf (neighbours are alike), and what its brand looks like, as embeddings of a title and of a
    picture would."""
    text_of = _Vectors(TEXT_NUMBERS, rng)
    image_of = _Vectors(IMAGE_NUMBERS, rng)
    for item in range(len(shop.category)):
        category, brand = shop.category[item], shop.brand[item]
        shelf = shop.shelves[category]
        along = 2 * math.pi * shelf.index(item) / len(shelf)
        yield Item(
            item_id=item_name(item),
            category=f"c{category}",
            brand=f"b{brand}",
            price=shop.price[item],
            title=f"item {item}, brand {brand}, category {category}",
            text_vector=text_of(f"c{category}", along, 1.0),
            image_vector=image_of(f"b{brand}", along, 0.6),
        )


class _Vectors:
    """Vectors made of a centre for each kind of thing and waves along a circle."""

    def __init__(self, numbers: int, rng: Random) -> None:
        self._numbers, self._rng = numbers, rng
        self._centres: dict[str, list[float]] = {}
        self._waves = [self._drawn() for _ in range(2 * _WAVES)]

    def _drawn(self) -> list[float]:
        return [self._rng.gauss(0, self._numbers**-0.5) for _ in range(self._numbers)]

    def __call__(self, kind: str, along: float, waviness: float) -> list[float]:
        if kind not in self._centres:
            self._centres[kind] = self._drawn()
        shares = [
            waviness * swing(wave * along)
            for wave in range(1, _WAVES + 1)
            for swing in (math.sin, math.cos)
        ]
        noise = self._drawn()
        return [
            round(
                centre
                + sum(s * wave[n] for s, wave in zip(shares, self._waves, strict=True))
                + _NOISE * noise[n],
                5,
            )
            for n, centre in enumerate(self._centres[kind])
        ]
