"""Who plays next on the event loop, where playing holds up everybody else."""

import asyncio

HOPS = 12
"""Steps of the loop between two plays. At each of them the threads of the consumer and of the
deliveries may have the interpreter: 2 doubled the latency at half of the peak, 24 gained no more.
"""


class Turns:
    """Lanes play one after the other, and between two of them what the brokers have answered goes
    its way: otherwise fetches and deliveries would wait for micro-batches of other partitions.
    """

    def __init__(self) -> None:
        self._mine = asyncio.Lock()

    async def next(self) -> None:
        """On return it is the caller's turn, until it awaits anything."""
        async with self._mine:
            for _ in range(HOPS):
                await asyncio.sleep(0)
