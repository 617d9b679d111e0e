"""The guard at work: it watches committed micro-batches and orders a roll-back when it must.

Every worker watches what it serves itself, so several may find the same breach. Each waits a moment
of its own and looks again whether the model still answers before it orders anything; an order that
comes twice all the same returns to the same model.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
import numpy as np

from stream_app.core.batch import OutputBatch, Route
from stream_app.core.control import Pseudonym, key_of
from stream_app.core.events import Control
from stream_app.guard import Breach, Guard, GuardConfig, breach, noted, tally
from stream_app.kafka.observer import Done

log = logging.getLogger(__name__)

STAGGER_SECONDS = 2.0
"""Workers that find a breach at once order within so long, one after the other."""

RETRY_SECONDS = 2.0

Write = Callable[[bytes, bytes], Awaitable[int]]
"""Key and value to the control topic; returns the offset. Raises what Kafka raises."""


class Keeper:
    """Judges what a worker commits, and takes a promotion back once.

    ``live`` says which model the newest orders make answer, ``chance`` a number from 0 to 1 that
    other workers do not draw too.
    """

    def __init__(
        self,
        config: GuardConfig,
        write: Write,
        live: Callable[[], str],
        pseudonym: Pseudonym,
        chance: Callable[[], float],
        rolled_back: Callable[[str], None],
    ) -> None:
        self.guard = Guard()
        self._config = config
        self._write = write
        self._live = live
        self._pseudonym = pseudonym
        self._chance = chance
        self._rolled_back = rolled_back
        self._ordering: asyncio.Task[None] | None = None
        self._said: set[tuple[str, str]] = set()

    def batch(self, done: Done) -> None:
        """Take a committed micro-batch into account."""
        outputs: OutputBatch = done.outputs
        route: Route = done.route
        if not self._config.enabled or route.degraded or outputs.recall is None:
            return
        appended_ms = np.asarray(done.timestamps_ms, np.int64)  # [N]
        latencies_ms = done.done_ms - appended_ms[appended_ms >= 0]  # [N']
        more = tally(outputs.recall.judged, outputs.recall.hits, np.maximum(latencies_ms, 0))
        self.guard = noted(self.guard, route.live, more, self._config)
        found = breach(self.guard, self._config)
        if found is not None and (found.model, found.before) not in self._said:
            self._said.add((found.model, found.before))
            self._ordering = asyncio.create_task(self._order(found))

    async def _order(self, found: Breach) -> None:
        await asyncio.sleep(self._chance() * STAGGER_SECONDS)
        control = Control(order="roll_back", model=found.before)
        key, value = key_of(control, self._pseudonym), msgspec.json.encode(control)
        while self._live() == found.model:
            try:
                offset = await self._write(key, value)
            except Exception as error:
                log.error("The guard could not order a roll-back, and tries again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._rolled_back(found.what)
            log.error(
                "The guard takes %s back and returns to %s (order at offset %d): %s.",
                found.model, found.before, offset, found.sentence,
            )  # fmt: skip
            return
        log.warning(
            "The guard found that %s serves worse than %s (%s); it does not answer any more.",
            found.model, found.before, found.sentence,
        )  # fmt: skip

    async def close(self) -> None:
        if self._ordering is not None:
            self._ordering.cancel()
