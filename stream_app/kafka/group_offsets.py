"""How far the partitions are, told to the consumer group.

Where a restart begins is in the state, which is committed with what it caused. The group's offsets
are for people, dashboards and autoscalers; telling them behind the micro-batches spares each of
those two requests to brokers, one after the other.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from faust.types import TP

log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
COMMIT_SECONDS = 0.5

Commit = Callable[[Mapping[TP, int]], Awaitable[None]]


class GroupOffsets:
    """What one worker's partitions have reached, as far as the group has been told."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._told: dict[TP, int] = {}
        self._telling: asyncio.Task[None] | None = None

    async def keep(self, reached: Callable[[], Mapping[TP, int]]) -> None:
        """Tell once a second, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.tell(reached())

    async def tell(self, reached: Mapping[TP, int]) -> None:
        """Commit what the group does not know yet. Never raises a KafkaError: it can wait, and
        where the group has moved on, the next owner tells."""
        if self._telling is not None:
            # aiokafka asks until it is answered; one that is cancelled leaves its error unread.
            await asyncio.wait({self._telling}, timeout=COMMIT_SECONDS)
            if not self._telling.done():
                return
        news = {tp: offset for tp, offset in reached.items() if self._told.get(tp) != offset}
        if news:
            self._telling = asyncio.create_task(self._tell(news))
            await asyncio.wait({self._telling}, timeout=COMMIT_SECONDS)

    async def _tell(self, news: Mapping[TP, int]) -> None:
        told = self._told
        try:
            await self._commit(news)
        except (KafkaError, IllegalStateError, ConsumerStoppedError) as error:
            log.debug("The group was not told of %d partitions: %r", len(news), error)
            return
        told.update(news)

    def forget(self) -> None:
        """In the next assignment others may have told the group in between."""
        self._told = {}
