"""Deliveries in a thread of their own: requests to brokers go on while a micro-batch is played.

A delivery is a chain of requests, each sent when the one before is answered. On the loop that plays
micro-batches every link of the chain would wait for a play to end. The thread gets its turns while
the engine and the compiled parts run, since they let go of the interpreter.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from stream_app.kafka.delivery import Committer, Delivery, Results
from stream_app.kafka.packing import Packed

T = TypeVar("T")


class DeliveryThread:
    """A `Delivery` whose committers work in the thread, and are called from another loop."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def open(self, partition: int) -> Committer:
        return Remote(await self.call(self._delivery.open(partition)), self)

    async def close(self) -> None:
        if self._loop is None or self._thread is None:
            return
        try:
            await self.call(self._delivery.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join)
            self._loop = self._thread = None

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run in the thread, awaited from here; cancelled together."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_serve, args=(self._loop,), name="delivery", daemon=True
            )
            self._thread.start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def soon(self, work: Callable[[], None]) -> None:
        """Run in the thread before whatever is called after it; not waited for."""
        assert self._loop is not None  # noqa: S101 (who has a committer has opened it there)
        self._loop.call_soon_threadsafe(work)


class Remote:
    """A committer in the thread. What it packs are plain objects, made where it is called."""

    def __init__(self, committer: Committer, thread: DeliveryThread) -> None:
        self._committer = committer
        self._thread = thread
        self.asks_ahead = committer.asks_ahead

    def begin(self) -> None:
        if self.asks_ahead:
            self._thread.soon(self._committer.begin)

    def pack(self, results: Results) -> list[Packed]:
        return self._committer.pack(results)

    async def commit(self, packed: list[Packed]) -> int:
        return await self._thread.call(self._committer.commit(packed))

    async def close(self) -> None:
        await self._thread.call(self._committer.close())


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
