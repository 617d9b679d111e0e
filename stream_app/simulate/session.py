"""A visit to the shop: what somebody looks at next, and what comes of it.

What is looked at depends on more than the item before: on the direction in which one walks along a
shelf, on what the visit began with, on what one has seen already, and on one's taste.
"""

from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import NamedTuple

from stream_app.simulate.catalogue import Catalogue
from stream_app.simulate.click import Click, Planned, item_name
from stream_app.simulate.people import Person, favourite_category

LONGEST_PAUSE_MS = 900_000  # sessions without an id end after 30 minutes


class Intent(NamedTuple):
    """What somebody comes for. ``ways`` are cumulative shares of the ways to the next item: along
    the shelf, back to one seen before, to an accessory of the first item, by taste, by fashion."""

    share: float
    views: float  # mean number
    searches: float  # probability to begin with a search
    stride: int  # places along a shelf from one look to the next
    ways: tuple[float, float, float, float]
    cart: float  # probability after a view
    buys: float  # probability that what is in the cart is bought


INTENTS = (
    Intent(0.45, 5, 0.10, 3, (0.66, 0.72, 0.80, 0.94), 0.03, 0.2),  # to browse
    Intent(0.25, 6, 0.95, 1, (0.62, 0.72, 0.86, 0.96), 0.08, 0.4),  # to find something
    Intent(0.15, 9, 0.50, 1, (0.30, 0.85, 0.90, 0.97), 0.08, 0.4),  # to compare
    Intent(0.15, 5, 0.40, 1, (0.40, 0.60, 0.85, 0.97), 0.35, 0.85),  # to buy
)
EVENTS_PER_SESSION = 7.0  # on average; a test measures it
_INTENT_SHARES = tuple(accumulate(intent.share for intent in INTENTS[:-1]))


class Visit:
    """One session of one user, event by event."""

    def __init__(
        self,
        person: Person,
        session_id: str,
        start_ms: int,
        catalogue: Catalogue,
        rng: Random,
        last_seen: int | None = None,
    ) -> None:
        self._person = person
        self._session_id = session_id
        self._now_ms = start_ms
        self._catalogue = catalogue
        self._rng = rng
        self._intent = INTENTS[bisect(_INTENT_SHARES, rng.random())]
        habit = person.direction if rng.random() < 0.9 else -person.direction
        self._step = habit * self._intent.stride
        # Some take up what they left.
        resumed = last_seen is not None and rng.random() < 0.35
        self._first = last_seen if resumed and last_seen is not None else self._begin()
        self._seen: list[int] = []
        self._accessories = 0
        self.last = self._first

    def events(self) -> Iterator[Planned]:
        """The events of the visit in the order of their times."""
        rng, intent = self._rng, self._intent
        if rng.random() < 0.2:
            yield self._event("login", None, 2_000)
        views = 1 + min(int(rng.expovariate(1 / (intent.views - 1))), 40)
        if rng.random() < intent.searches:
            yield self._event("search", None, 4_000, query=self._catalogue.query(self._first))
            yield self._look("click", self._first)
            views -= 1
        cart: dict[int, int] = {}  # item -> quantity
        while views > 0:
            views -= 1
            item = self._next() if self._seen else self._first
            again = item in self._seen
            yield self._look("view", item)
            if rng.random() < 0.03:
                yield self._event("favourite", item, 2_000)
            if item not in cart and rng.random() < self._cart_probability(item, again):
                cart[item] = 1 if rng.random() < 0.85 else 2
                yield self._event("cart", item, 4_000, quantity=cart[item])
        yield from self._checkout(cart)

    def _checkout(self, cart: dict[int, int]) -> Iterator[Planned]:
        rng = self._rng
        for item in [item for item in cart if rng.random() < 0.12]:
            yield self._event("remove", item, 5_000, quantity=cart.pop(item))
        if not cart or rng.random() >= self._intent.buys:
            return
        for item, quantity in cart.items():
            yield self._event("purchase", item, 9_000, quantity=quantity)
        bought = list(cart)
        # Who has bought looks at what goes with it, and seldom gives it back.
        for number in range(rng.choice((0, 0, 1, 2))):
            yield self._look("view", self._catalogue.goes_with(bought[-1], number))
        if rng.random() < 0.02:
            item = rng.choice(bought)
            yield self._event("refund", item, 600_000, quantity=cart[item])

    def _begin(self) -> int:
        category = favourite_category(self._person, self._catalogue, self._rng)
        brand = self._person.brand_in(category, self._catalogue.brands)
        return self._catalogue.liked(category, brand, self._rng)

    def _next(self) -> int:
        rng, catalogue, seen = self._rng, self._catalogue, self._seen
        way = bisect(self._intent.ways, rng.random())
        if way == 1 and len(seen) > 1:
            return seen[-2] if rng.random() < 0.85 else rng.choice(seen)
        if way == 2:
            self._accessories += 1
            return catalogue.goes_with(self._first, self._accessories - 1)
        if way == 3:
            category = catalogue.category[self._first]
            brand = self._person.brand_in(category, catalogue.brands)
            return catalogue.liked(category, brand, rng)
        if way == 4:
            return catalogue.trending(rng)
        return catalogue.beside(self.last, self._step * (1 if rng.random() < 0.92 else 2))

    def _look(self, event_type: str, item: int) -> Planned:
        # The event is sent on leaving: its time is after the dwelling, which it then knows.
        dwell_ms = min(int(self._rng.lognormvariate(9.2, 0.9) * self._person.hurry), 600_000)
        self._now_ms += dwell_ms
        self._seen.append(item)
        self.last = item
        return self._event(event_type, item, 1_500, dwell_ms=dwell_ms)

    def _cart_probability(self, item: int, again: bool) -> float:
        dear = self._catalogue.price[item] / (60 * self._person.budget)
        return self._intent.cart * (2.0 if again else 1.0) / (0.5 + min(dear, 2.0))

    def _event(
        self,
        event_type: str,
        item: int | None,
        mean_pause_ms: float,
        *,
        dwell_ms: int | None = None,
        quantity: int | None = None,
        query: str | None = None,
    ) -> Planned:
        pause_ms = 200 + int(self._rng.expovariate(1 / mean_pause_ms))
        self._now_ms += min(pause_ms, LONGEST_PAUSE_MS)
        click = Click(
            user_id=self._person.name,
            session_id=self._session_id,
            item_id=None if item is None else item_name(item),
            event_type=event_type,
            timestamp=self._now_ms,
            dwell_ms=dwell_ms,
            price=None if item is None else self._catalogue.price[item],
            quantity=quantity,
            query=query,
            promotion_id=None if item is None else self._catalogue.promotion(item),
            device=self._person.device,
            ip=self._person.ip,
        )
        return Planned(self._now_ms, click)
