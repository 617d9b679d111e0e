"""Who plays next on the event loop, where playing holds up everybody else."""

import asyncio

HOPS = 6
"""Steps of the loop between an answer of a broker and the next request that it leads to: through
the connection, the sender and the delivery."""


class Turns:
    """Lanes play one after the other, and between two of them what the brokers have answered goes
    its way: otherwise each step of a commit would wait for a micro-batch of another partition.
    """

    def __init__(self) -> None:
        self._mine = asyncio.Lock()

    async def next(self) -> None:
        """On return it is the caller's turn, until it awaits anything."""
        async with self._mine:
            for _ in range(HOPS):
                await asyncio.sleep(0)
