"""All visits and attacks, merged into one stream in the order of arrival."""

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Iterator
from random import Random

import msgspec

from stream_app.core.events import Item
from stream_app.files import FileEvent
from stream_app.simulate.attacks import Scene, campaign_events
from stream_app.simulate.catalogue import Catalogue
from stream_app.simulate.click import Campaign, Click, Label, Planned, SimulatedEvent
from stream_app.simulate.config import SimulatorConfig
from stream_app.simulate.content import described_items
from stream_app.simulate.dirt import soiled
from stream_app.simulate.people import People
from stream_app.simulate.session import EVENTS_PER_SESSION, Visit
from stream_app.simulate.traffic import beginnings, intensity

_REMEMBERED_USERS = 50_000
_RECENT_CLICKS = 2_000
_TRIES = 8

_encode = msgspec.json.Encoder().encode


def simulate(config: SimulatorConfig, rng: Random) -> Iterator[SimulatedEvent]:
    """The shop's events, without end, in the order in which they arrive.

    The same config and the same state of ``rng`` give the same bytes; with another ``start_ms``
    they give other days of the same shop: the same items, users and tastes. Without dirt the order
    is that of the timestamps, but for replayed events. Honest users do the same whether or not
    there are attacks and dirt. Memory grows with neither time nor users.
    """
    return _Timeline(config, rng).events()


def items_of(config: SimulatorConfig, rng: Random) -> Iterator[Item]:
    """The catalogue of the shop that ``simulate`` opens with the same arguments."""
    shop = Random(rng.getrandbits(64))  # noqa: S311
    return described_items(Catalogue(config, shop), shop)


class _Timeline:
    """Who is in the shop, and what they will do next."""

    def __init__(self, config: SimulatorConfig, rng: Random) -> None:
        # A generator of its own for each part, so that none disturbs the others.
        shop, people = (Random(rng.getrandbits(64)) for _ in range(2))  # noqa: S311
        # Other days of the same shop must not be the same days again.
        days = rng.getrandbits(64) + config.start_ms
        traffic, self._visits, self._attacks, self._dirt, self._ids = (
            Random(days * 5 + part)  # noqa: S311
            for part in range(5)
        )
        self._config = config
        self._catalogue = Catalogue(config, shop)
        self._people = People(config, people)
        self._beginnings = beginnings(
            config, config.events_per_second / EVENTS_PER_SESSION, traffic
        )
        self._kinds = itertools.cycle(config.attacks)
        self._campaigns = itertools.count(1)
        self._accounts = itertools.count(config.users)
        self._numbers = itertools.count()  # ties in time are settled by who came first
        self._coming: list[tuple[int, int, Planned, Iterator[Planned], int | None]] = []
        self._present: set[int] = set()
        self._last_seen: OrderedDict[int, int] = OrderedDict()
        self._recent: deque[Click] = deque(maxlen=_RECENT_CLICKS)

    def events(self) -> Iterator[SimulatedEvent]:
        coming, config = self._coming, self._config
        visit_ms = next(self._beginnings)
        never_ms = 1 << 62
        between_ms = 1000 * config.attack_every_events / config.events_per_second
        attack_ms = config.start_ms + int(between_ms / 2) if config.attacks else never_ms
        while True:
            next_ms = coming[0][0] if coming else never_ms
            if visit_ms <= min(next_ms, attack_ms):
                self._visit(visit_ms)
                visit_ms = next(self._beginnings)
            elif attack_ms <= next_ms:
                self._attack(attack_ms)
                attack_ms += int(between_ms * self._attacks.uniform(0.5, 1.5))
            else:
                at_ms, _, planned, source, user = heapq.heappop(coming)
                self._follow(source, user)
                if at_ms >= config.start_ms:
                    yield from self._arrive(at_ms, planned)

    def _visit(self, start_ms: int) -> None:
        rng = self._visits
        hour = start_ms % 86_400_000 / 3_600_000
        for last in reversed(range(_TRIES)):
            number = self._people.visitor(rng)
            if number in self._present:
                continue
            person = self._people.person(number)
            # intensity() peaks at 20 h; shifted, it peaks at the hour that the user likes.
            own_ms = int((hour - person.evening_hour + 20) % 24 * 3_600_000)
            if last and rng.random() * 2 > intensity(own_ms, self._config.day_cycle):
                continue
            self._catalogue.renew(start_ms)
            session_id = f"{rng.getrandbits(64):016x}"
            visit = Visit(
                person, session_id, start_ms, self._catalogue, rng, self._last_seen.get(number)
            )
            self._present.add(number)
            self._follow(self._remembering(visit, number), number)
            return

    def _remembering(self, visit: Visit, number: int) -> Iterator[Planned]:
        yield from visit.events()
        self._last_seen[number] = visit.last
        self._last_seen.move_to_end(number)
        if len(self._last_seen) > _REMEMBERED_USERS:
            self._last_seen.popitem(last=False)

    def _attack(self, start_ms: int) -> None:
        attack = next(self._kinds)
        victim = self._victim() if attack == "takeover" else None
        scene = Scene(
            Campaign(attack, f"{attack}-{next(self._campaigns)}"),
            start_ms,
            self._catalogue,
            self._people,
            self._accounts,
            None if victim is None else self._people.person(victim),
            tuple(self._recent),
        )
        if victim is not None:
            self._present.add(victim)
        for source in campaign_events(scene, self._attacks):
            self._follow(source, victim)

    def _victim(self) -> int | None:
        absent = [number for number in self._last_seen if number not in self._present]
        return self._attacks.choice(absent) if absent else None

    def _follow(self, source: Iterator[Planned], user: int | None) -> None:
        """Put the next event of a source in its place; at its end the user leaves."""
        planned = next(source, None)
        if planned is not None:
            place = (planned.at_ms, next(self._numbers), planned, source, user)
            heapq.heappush(self._coming, place)
        elif user is not None:
            self._present.discard(user)

    def _arrive(self, at_ms: int, planned: Planned) -> Iterator[SimulatedEvent]:
        click, campaign = planned.click, planned.campaign
        if campaign is not None:
            if click.event_id is None:
                click.event_id = f"{self._attacks.getrandbits(128):032x}"
            label = Label(click.event_id, str(click.user_id), campaign.attack, campaign.attack_id)
            yield SimulatedEvent(_event(click), at_ms, label)
            return
        if click.event_id is None:  # else it comes again, or late
            click.event_id = f"{self._ids.getrandbits(128):032x}"
            if self._dirt.random() < self._config.dirt:
                for delay_ms, version in soiled(click, self._dirt):
                    if delay_ms == 0:
                        yield SimulatedEvent(_event(version), at_ms)
                    else:
                        self._follow(iter([Planned(at_ms + delay_ms, version)]), None)
                return
            self._recent.append(click)
        yield SimulatedEvent(_event(click), at_ms)


def _event(click: Click) -> FileEvent:
    key = None if click.user_id is None else click.user_id.encode()
    return FileEvent(key, _encode(click))
