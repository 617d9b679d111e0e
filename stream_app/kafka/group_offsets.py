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
COMMIT_SECONDS = 2.0

Commit = Callable[[Mapping[TP, int]], Awaitable[None]]


class GroupOffsets:
    """What one worker's partitions have reached, as far as the group has been told."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._told: dict[TP, int] = {}

    async def keep(self, reached: Callable[[], Mapping[TP, int]]) -> None:
        """Tell once a second, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.tell(reached())

    async def tell(self, reached: Mapping[TP, int]) -> None:
        """Commit what the group does not know yet. Never raises a KafkaError: it can wait, and
        where the group has moved on, the next owner tells."""
        news = {tp: offset for tp, offset in reached.items() if self._told.get(tp) != offset}
        if not news:
            return
        try:
            await asyncio.wait_for(self._commit(news), COMMIT_SECONDS)
        except (KafkaError, IllegalStateError, ConsumerStoppedError, TimeoutError) as error:
            log.debug("The group was not told of %d partitions: %r", len(news), error)
            return
        self._told.update(news)

    def forget(self) -> None:
        """In the next assignment others may have told the group in between."""
        self._told.clear()
