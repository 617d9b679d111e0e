"""What committers do is done in another thread, and looks as if it were done here."""

import asyncio
import threading
from typing import Any

import pytest
from aiokafka.errors import ProducerFenced

from stream_app.kafka.delivery import Committer
from stream_app.kafka.delivery_thread import DeliveryThread

RESULTS: Any = object()


class Recorded:
    """A delivery and its committer, which note what was called and where."""

    asks_ahead = True

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []
        self.error: Exception | None = None
        self.waits = False

    def note(self, name: str) -> None:
        self.calls.append((name, threading.current_thread() is threading.main_thread()))

    async def open(self, partition: int) -> Committer:
        self.note(f"open {partition}")
        return self

    def begin(self) -> None:
        self.note("begin")

    def pack(self, results: Any) -> list[Any]:
        self.note("pack")
        return [results]

    async def commit(self, packed: list[Any]) -> int:
        self.note("commit")
        assert packed == [RESULTS]
        if self.error is not None:
            raise self.error
        if self.waits:
            try:
                await asyncio.sleep(60)
            finally:
                self.note("cancelled")
        return 7

    async def close(self) -> None:
        self.note("close")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "delivery"]


def test_requests_are_made_in_the_thread_and_batches_where_they_are_played() -> None:
    recorded = Recorded()

    async def scenario() -> None:
        delivery = DeliveryThread(recorded)
        committer = await delivery.open(3)
        assert threads() == ["delivery"]
        committer.begin()
        assert await committer.commit(committer.pack(RESULTS)) == 7
        await committer.close()
        await delivery.close()

    asyncio.run(scenario())
    # Nobody waits for a begin, so a batch may be packed before it; it comes before the commit.
    assert recorded.calls.index(("begin", False)) < recorded.calls.index(("commit", False))
    names = ["begin", "close", "close", "commit", "open 3", "pack"]
    assert sorted(recorded.calls) == [(name, name == "pack") for name in names]
    assert threads() == []


def test_an_error_comes_back_as_it_was_raised() -> None:
    recorded = Recorded()
    recorded.error = ProducerFenced()

    async def scenario() -> None:
        delivery = DeliveryThread(recorded)
        committer = await delivery.open(0)
        with pytest.raises(ProducerFenced) as raised:
            await committer.commit([RESULTS])
        assert raised.value is recorded.error
        await delivery.close()

    asyncio.run(scenario())


def test_who_gives_up_waiting_ends_the_delivery() -> None:
    recorded = Recorded()
    recorded.waits = True

    async def scenario() -> None:
        delivery = DeliveryThread(recorded)
        committer = await delivery.open(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(committer.commit([RESULTS]), 0.05)
        # The thread is asked in order, so it has heard of it before it closes.
        await committer.close()
        await delivery.close()

    asyncio.run(scenario())
    assert [name for name, _ in recorded.calls][-3:] == ["cancelled", "close", "close"]


def test_what_was_never_opened_has_no_thread() -> None:
    asyncio.run(DeliveryThread(Recorded()).close())
    assert threads() == []


def test_who_has_nothing_to_ask_ahead_is_not_woken_for_it() -> None:
    recorded = Recorded()
    recorded.asks_ahead = False

    async def scenario() -> None:
        delivery = DeliveryThread(recorded)
        committer = await delivery.open(0)
        committer.begin()
        assert await committer.commit([RESULTS]) == 7
        await delivery.close()

    asyncio.run(scenario())
    assert [name for name, _ in recorded.calls] == ["open 0", "commit", "close"]
