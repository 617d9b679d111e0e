"""Planted attacks: what bots, thieves and fraudsters do, as events among those of honest users."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

import msgspec

from stream_app.simulate.catalogue import Catalogue
from stream_app.simulate.click import Campaign, Click, Planned, item_name
from stream_app.simulate.people import People, Person


class Scene(NamedTuple):
    """What a campaign finds when it begins."""

    campaign: Campaign
    start_ms: int
    catalogue: Catalogue
    people: People
    accounts: Iterator[int]  # numbers of new accounts
    victim: Person | None  # an honest user with a past who is not there now
    recent: Sequence[Click]  # what honest users did last, oldest first


def campaign_events(scene: Scene, rng: Random) -> list[Iterator[Planned]]:
    """The events of a campaign, one iterator an account; none where it finds nothing to attack."""
    match scene.campaign.attack:
        case "crawler":
            return [_crawl(scene, rng)]
        case "takeover":
            return [] if scene.victim is None else [_take_over(scene, scene.victim, rng)]
        case "ring":
            return _ring(scene, rng)
        case "burst":
            return [_burst(scene, rng)]
        case "replay":
            return [_replay(scene, rng)]


class _Account:
    """Somebody who acts for a campaign, and the time at which they are."""

    def __init__(self, scene: Scene, person: Person, rng: Random) -> None:
        self._scene = scene
        self._person = person
        self._session_id = f"{rng.getrandbits(64):016x}"
        self._now_ms = scene.start_ms

    def does(self, event_type: str, item: int | None, pause_ms: float, **more: int) -> Planned:
        """The next event, after a pause."""
        self._now_ms += max(1, int(pause_ms))
        click = Click(
            user_id=self._person.name,
            session_id=self._session_id,
            item_id=None if item is None else item_name(item),
            event_type=event_type,
            timestamp=self._now_ms,
            price=None if item is None else self._scene.catalogue.price[item],
            device=self._person.device,
            ip=self._person.ip,
            dwell_ms=more.get("dwell_ms"),
            quantity=more.get("quantity"),
        )
        return Planned(self._now_ms, click, self._scene.campaign)


def _crawl(scene: Scene, rng: Random) -> Iterator[Planned]:
    """Item after item by number, at an even pace, without ever a cart."""
    bot = _Account(scene, scene.people.person(next(scene.accounts)), rng)
    count = len(scene.catalogue.price)
    first = rng.randrange(count)
    pace_ms = rng.uniform(200, 900)
    for number in range(rng.randrange(120, 300)):
        pause_ms = rng.gauss(pace_ms, pace_ms / 20)
        yield bot.does("view", (first + number) % count, pause_ms, dwell_ms=int(max(1, pause_ms)))


def _take_over(scene: Scene, victim: Person, rng: Random) -> Iterator[Planned]:
    """A stranger in a known account: another device and address, another taste, and in a hurry to
    buy what can be sold."""
    stranger = scene.people.person(next(scene.accounts))
    thief = _Account(scene, victim._replace(device=stranger.device, ip=stranger.ip), rng)
    catalogue = scene.catalogue
    strange = [c for c in range(len(catalogue.shelves)) if c not in victim.categories]
    dear = sorted(
        (rng.choice(catalogue.shelves[rng.choice(strange or [0])]) for _ in range(12)),
        key=lambda item: catalogue.price[item],
    )[-rng.randrange(4, 8) :]
    yield thief.does("login", None, 1_000)
    for item in dear:
        yield thief.does("view", item, rng.uniform(1_000, 4_000), dwell_ms=rng.randrange(500, 3000))
        yield thief.does("cart", item, rng.uniform(500, 2_000), quantity=rng.randrange(1, 6))
    for item in dear:
        yield thief.does("purchase", item, rng.uniform(500, 2_000), quantity=rng.randrange(1, 6))


def _ring(scene: Scene, rng: Random) -> list[Iterator[Planned]]:
    """New accounts of one network that buy the same few items, all at the same moments."""
    items = [rng.randrange(len(scene.catalogue.price)) for _ in range(rng.randrange(1, 4))]
    network = f"172.{rng.randrange(16, 32)}.{rng.randrange(256)}"
    rounds = [rng.uniform(45_000, 120_000) for _ in range(rng.randrange(2, 4))]

    def member(number: int, seed: int) -> Iterator[Planned]:
        own = Random(seed)  # noqa: S311 (a simulation)
        person = scene.people.person(next(scene.accounts))
        account = _Account(scene, person._replace(ip=f"{network}.{number}"), own)
        yield account.does("login", None, own.uniform(100, 3_000))
        for until_next_ms in rounds:
            for item in items:
                yield account.does("view", item, 1_500 + own.uniform(0, 300), dwell_ms=1_400)
                yield account.does("cart", item, 800 + own.uniform(0, 200), quantity=1)
                yield account.does("purchase", item, 1_200 + own.uniform(0, 200), quantity=1)
            pause_ms = until_next_ms - 3_800 * len(items)
            yield account.does("login", None, pause_ms + own.uniform(0, 1_000))

    return [member(n, rng.getrandbits(64)) for n in range(1, rng.randrange(6, 12))]


def _burst(scene: Scene, rng: Random) -> Iterator[Planned]:
    """One item clicked as fast as a script can."""
    account = _Account(scene, scene.people.person(next(scene.accounts)), rng)
    item = scene.catalogue.trending(rng)
    for _ in range(rng.randrange(60, 180)):
        yield account.does("click", item, rng.uniform(20, 150))


def _replay(scene: Scene, rng: Random) -> Iterator[Planned]:
    """What somebody did, sent once more as it was and once more under new event ids."""
    if not scene.recent:
        return
    user_id = rng.choice(scene.recent).user_id
    copied = [click for click in scene.recent if click.user_id == user_id][-20:]
    at_ms = scene.start_ms
    for new_ids in (False, True):
        for click in copied:
            at_ms += rng.randrange(20, 200)
            again = msgspec.structs.replace(click, event_id=None) if new_ids else click
            yield Planned(at_ms, again, scene.campaign)
