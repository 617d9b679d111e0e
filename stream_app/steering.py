"""What is in force for each partition of a worker, and what follows: the shell around `Route`.

Orders come from the side inputs, the level of degradation from the lag. Neither takes effect before
a micro-batch has recorded it, and a model answers only once it is open.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from stream_app.core.batch import DEGRADED, EventBatch, OutputBatch, Route
from stream_app.core.control import Items, Orders, route_of
from stream_app.core.pipeline import Mark, play
from stream_app.core.store import PartitionStore
from stream_app.engines import Engines
from stream_app.kafka.side_inputs import SideRecord
from stream_app.orders import Ledger
from stream_app.overload import Load, OverloadConfig, effective_lag_ms, weighed

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""How often a degraded partition without input is asked whether it has recovered."""

Clock = Callable[[], int]
"""Milliseconds since the epoch."""


class Watcher(Protocol):
    """Whoever counts what steering meets."""

    def refused(self, role: str, count: int) -> None:
        """So many records of a side input could not be applied, or name a model that is missing."""


@dataclass
class Course:
    """One partition that is being served."""

    store: PartitionStore
    wake: Callable[[], None]
    route: Route
    load: Load
    since_ms: int
    fixed_until: int

    def is_fixed(self, offset: int) -> bool:
        """Whether the route may not change yet at a source offset."""
        return offset < self.fixed_until


class Steering:
    """The `stream_app.kafka.contract.Steering` of a worker with engines, orders and overload.

    ``take`` gets the side inputs; ``settle`` puts into effect what was taken, and ``run`` goes on
    doing so.
    """

    def __init__(
        self,
        engines: Engines,
        ledger: Ledger,
        overload: OverloadConfig,
        clock: Clock,
        watcher: Watcher,
    ) -> None:
        self.engines = engines
        self.ledger = ledger
        self.overload = overload
        self._clock = clock
        self._watcher = watcher
        self._courses: dict[int, Course] = {}
        self._settled: tuple[Orders, Items] = (ledger.orders, ledger.items)
        self._routes: dict[int, Route] = {}
        self._taken = asyncio.Event()
        self._said_missing: tuple[str, ...] = ()

    @property
    def ordered_live(self) -> str:
        """The model that the newest orders make answer."""
        return self._following(0).live

    # --- the side inputs

    def take(self, role: str, records: Sequence[SideRecord]) -> None:
        refused = self.ledger.take(role, records)
        if refused:
            self._watcher.refused(role, len(refused))
            log.warning(
                "%d records of the side input %s are refused and skipped; the first, at offset %d:"
                " %s", len(refused), role, refused[0].offset, refused[0].detail,
            )  # fmt: skip
        self._taken.set()

    async def run(self) -> None:
        """Put orders into effect as they come, until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self._taken.wait(), TICK_SECONDS)
            except TimeoutError:
                self._wake(degraded=True)
                continue
            await self.settle()

    async def settle(self) -> None:
        """Open the models that the newest orders name, then let these orders follow."""
        self._taken.clear()
        orders, items = self.ledger.orders, self.ledger.items
        if orders != self._settled[0]:
            await self.engines.look()
            await self._open_for(orders, items)
        self._settled = orders, items
        self._routes.clear()
        self._wake()
        self._let_go()

    async def _open_for(self, orders: Orders, items: Items) -> None:
        while True:
            route, missing = self._asked(orders, items)
            wanted = {route.live, *filter(None, [route.shadow])}
            # One that cannot be opened is known no more, and another route is asked for.
            if all([await self.engines.open(version) for version in sorted(wanted)]):
                break
        if missing and tuple(missing) != self._said_missing:
            self._watcher.refused("control", len(missing))
            log.error(
                "Orders name %s, which this worker does not have; %s stays. Add it to the folder"
                " worker.models of every worker, then order it again.",
                ", ".join(missing), route.live,
            )  # fmt: skip
        self._said_missing = tuple(missing)

    def _asked(self, orders: Orders, items: Items, level: int = 0) -> tuple[Route, list[str]]:
        return route_of(orders, items, self.engines.own, self.engines.known, level)

    def _wake(self, degraded: bool = False) -> None:
        for course in self._courses.values():
            if not degraded or course.load.level:
                course.wake()

    def _let_go(self) -> None:
        routes = [course.route for course in self._courses.values()]
        routes.append(self._following(0))
        self.engines.keep({v for route in routes for v in (route.live, route.shadow) if v})

    def _following(self, level: int) -> Route:
        """The route that all that is settled asks for at a level of degradation."""
        route = self._routes.get(level)
        if route is None:
            route = self._routes[level] = self._asked(*self._settled, level)[0]
        return route

    # --- the lanes

    async def join(self, store: PartitionStore, wake: Callable[[], None], fixed_until: int) -> None:
        """A partition whose model is not here goes on under the one that the orders name next."""
        record = store.record
        for version in filter(None, (record.live, record.shadow)):
            if not await self._have(version):
                self._watcher.refused("control", 1)
                log.error(
                    "Partition %d is served by model %s, which this worker does not have: %s"
                    " takes over. Add it to the folder worker.models of every worker.",
                    store.partition, version, self._following(0).live,
                )  # fmt: skip
        blocked, erasures = self.ledger.at(record.as_of, record.items_as_of)
        self._courses[store.partition] = Course(
            store,
            wake,
            store.record.route(blocked, erasures),
            Load(record.degraded),
            self._clock(),
            fixed_until,
        )

    async def _have(self, version: str) -> bool:
        if version in self.engines:
            return True
        await self.engines.look()
        return await self.engines.open(version)

    def leave(self, store: PartitionStore) -> None:
        course = self._courses.get(store.partition)
        if course is not None and course.store is store:
            del self._courses[store.partition]

    def in_force(self, store: PartitionStore) -> Route:
        return self._courses[store.partition].route

    def is_due(self, store: PartitionStore) -> bool:
        """Whether an order waits, or the lag is over. That the catalogue moved on without blocking
        anything is recorded with the next events.
        """
        course = self._courses[store.partition]
        load = weighed(course.load, 0, self._clock(), self.overload)
        if load.level == course.load.level:
            course.load = load
        now, then = course.route, self._following(load.level)
        if now is then or store.record.erasures_due or course.is_fixed(store.next_offset):
            return store.record.erasures_due
        return any(
            getattr(now, name) != getattr(then, name)
            for name in ("as_of", "live", "shadow", "degraded", "blocked")
        )

    def play(self, batch: EventBatch, store: PartitionStore, mark: Mark) -> OutputBatch:
        """`core.pipeline.play` under the route in force, which also records the next one."""
        course, now_ms = self._courses[store.partition], self._clock()
        appended_ms = batch.timestamps_ms[0] if batch.timestamps_ms else None
        lag_ms = effective_lag_ms(appended_ms, course.since_ms, now_ms)
        load = weighed(course.load, lag_ms, now_ms, self.overload)
        following = self._following(load.level)
        if course.is_fixed(batch.next_offset):
            load, following = course.load, course.route
        outputs = play(batch, store, self.engines, course.route, mark, following)
        before, course.route = course.route, following
        if load.level != course.load.level:
            log.warning(
                "Partition %d is %.1f s behind its input. From offset %d on: %s.",
                store.partition, lag_ms / 1000, batch.next_offset,
                " ".join(DEGRADED[1 : load.level + 1]) or DEGRADED[0],
            )  # fmt: skip
        course.load = load
        if following.live != before.live:
            log.info(
                "Partition %d: from offset %d on %s answers; before, %s did.",
                store.partition, batch.next_offset, following.live, before.live,
            )  # fmt: skip
        if (following.live, following.shadow) != (before.live, before.shadow):
            self._let_go()
        return outputs
