"""The shop's users: what they like, when they come, what they come with."""

from functools import lru_cache
from random import Random
from typing import NamedTuple

from stream_app.simulate.catalogue import Catalogue
from stream_app.simulate.click import user_name
from stream_app.simulate.config import SimulatorConfig

_KNOWN_USERS = 20_000
_DEVICES = ("mobile", "mobile", "desktop", "desktop", "tablet")


class Person(NamedTuple):
    """A user as the simulator knows them."""

    name: str
    categories: tuple[int, ...]  # most liked first
    brand_offset: int
    direction: int  # along a shelf, 1 or -1
    budget: float  # how dear an item may be, as a multiple of the usual
    hurry: float  # how long they look, as a multiple of the usual
    evening_hour: float  # the hour of the day at which they come most
    device: str
    ip: str

    def brand_in(self, category: int, brands: int) -> int:
        """The brand that they like in a category."""
        return (self.brand_offset + category) % brands


class People:
    """All users. Whoever is forgotten is made up again, the same as before: memory is bounded."""

    def __init__(self, config: SimulatorConfig, rng: Random) -> None:
        self._config = config
        self._salt = rng.getrandbits(64)
        self._known = lru_cache(_KNOWN_USERS)(self._made_up)

    def person(self, number: int) -> Person:
        """The user of a number; numbers from ``config.users`` up are accounts of attackers."""
        return self._known(number)

    def _made_up(self, number: int) -> Person:
        rng = Random(self._salt + number)  # noqa: S311 (a simulation)
        categories = range(self._config.categories)
        return Person(
            name=user_name(number),
            categories=tuple(rng.sample(categories, min(3, len(categories)))),
            brand_offset=rng.randrange(self._config.brands),
            direction=rng.choice((-1, 1)),
            budget=rng.lognormvariate(0, 0.5),
            hurry=rng.lognormvariate(0, 0.35),
            evening_hour=rng.gauss(20, 3) % 24,
            device=rng.choice(_DEVICES),
            ip=f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
        )

    def visitor(self, rng: Random) -> int:
        """The number of a user who comes now; some come far more often than others."""
        return int(self._config.users * rng.random() ** 1.5)


def favourite_category(person: Person, catalogue: Catalogue, rng: Random) -> int:
    """The category of a visit: mostly the best liked one, sometimes what is in fashion."""
    draw = rng.random()
    if draw < 0.1:
        return catalogue.category[catalogue.trending(rng)]
    return person.categories[min(int((draw - 0.1) ** 2 * 3.7), len(person.categories) - 1)]
