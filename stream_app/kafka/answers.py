"""How long to wait for brokers: as long as they answer.

Taking a transactional id over is a dozen requests one after the other, some of them again and again
while an old transaction ends. On a busy machine each of them may take seconds, and all of them may
be answered: a bound on the whole would end a worker that is getting there.
"""

import asyncio
import logging
from collections.abc import Coroutine
from time import monotonic
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code

log = logging.getLogger(__name__)

SILENCE_SECONDS = 60.0
"""Longer than aiokafka waits for one answer: it has asked again by then."""

GIVE_UP_SECONDS = 300.0
TELL_SECONDS = 10.0


class FenceTimeout(RuntimeError):
    """A transactional id could not be taken over in time."""


class Answers:
    """What brokers answer to a client from now on."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._send = client.send
        self._heard = monotonic()
        self._last = "nothing yet"
        client.send = self._listen

    async def _listen(self, node_id: Any, request: Any, **where: Any) -> Any:
        answer = await self._send(node_id, request, **where)
        self._heard = monotonic()
        said = for_code(getattr(answer, "error_code", 0)).__name__
        self._last = f"{said} to {type(request).__name__}"
        return answer

    async def during(self, work: Coroutine[Any, Any, None], transactional_id: str) -> None:
        """Do the work of taking an id over, as long as there are answers.

        Raises:
            FenceTimeout: there were none for `SILENCE_SECONDS`, or they led to nothing.
        """
        begun, task = monotonic(), asyncio.create_task(work)
        told = begun
        try:
            while not task.done():
                now = monotonic()
                waits_until = min(self._heard + SILENCE_SECONDS, begun + GIVE_UP_SECONDS)
                if now >= waits_until:
                    raise FenceTimeout(
                        f"The transactional id {transactional_id} could not be taken over within"
                        f" {now - begun:.0f} s; the last answer was {self._last}. See whether all"
                        " brokers are up, the transaction coordinator among them."
                    )
                if now >= told + TELL_SECONDS:
                    told = now
                    log.warning(
                        "Taking over %s goes on after %.0f s; the last answer was %s.",
                        transactional_id, now - begun, self._last,
                    )  # fmt: skip
                await asyncio.wait([task], timeout=min(waits_until, told + TELL_SECONDS) - now)
        finally:
            task.cancel()
            await asyncio.wait([task])
        task.result()
