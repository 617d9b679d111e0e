"""One partition's loop: greedy, at most one batch ahead, and honest about what is committed."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from stream_app.core.batch import EventBatch
from stream_app.kafka.contract import LATENCY, Core
from stream_app.kafka.delivery import Results
from stream_app.kafka.inbox import Chunk, Inbox
from stream_app.kafka.lane import Lane, event_batch, fixed_until
from stream_app.kafka.packing import Packed
from stream_app.kafka.store import Anchor
from stream_app.kafka.turns import Turns
from tests.kafka.counting import CORE, CountingStore, config, play
from tests.kafka.ledger import Watching, until

SHELL = config("nowhere:1", "a", max_batch_events=4)


class Row(NamedTuple):
    offset: int
    key: bytes | None = b"k"
    value: bytes | None = b"click"
    timestamp: int = 1_000
    timestamp_type: int = 1
    headers: tuple[Any, ...] = ()


class Gate:
    """A committer that delivers when the test opens it."""

    asks_ahead = True

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.packed: list[Results] = []
        self.ends: list[int] = []
        self.at_once = self.begun = 0
        self.error: Exception | None = None

    def begin(self) -> None:
        assert self.at_once == 0, "a transaction begins during another one of its partition"
        self.begun += 1

    def pack(self, results: Results) -> list[Packed]:
        self.packed.append(results)
        _, record = results.changes[-1]
        assert record is not None
        # The store's own record says where the next micro-batch starts.
        return [Packed("log", [], int(record), 0)]

    async def commit(self, packed: list[Packed]) -> int:
        self.at_once += 1
        assert self.at_once == 1, "two transactions of one partition at a time"
        await self.open.wait()
        self.at_once -= 1
        if self.error is not None:
            raise self.error
        self.ends.append(end := packed[-1].records)
        return 10 * end

    async def close(self) -> None: ...


def lane_of(gate: Gate, watching: Watching, core: Core = CORE) -> Lane:
    store, inbox = CountingStore(0), Inbox(0)
    return Lane(SHELL, core, 0, store, inbox, gate, watching, Turns(), lambda waiting: None)


def chunk(start: int, end: int) -> Chunk:
    return Chunk(SHELL.source, 0, start, end, [Row(n) for n in range(start, end)], 1.0)


def test_what_arrives_during_a_commit_becomes_one_micro_batch() -> None:
    async def scenario() -> None:
        gate, watching = Gate(), Watching()
        lane = lane_of(gate, watching)
        running = asyncio.create_task(lane.run())
        lane.offer(chunk(0, 1))
        await until(lambda: len(gate.packed) == 1)
        for number in range(1, 4):
            lane.offer(chunk(number, number + 1))
            await asyncio.sleep(0.01)
        assert len(gate.packed) == 1
        assert (lane.committed, lane.true, lane.idle) == (0, False, False)
        gate.open.set()
        await until(lambda: gate.ends == [1, 4])
        await until(lambda: lane.idle)
        assert (lane.committed, lane.true, lane.anchor) == (4, True, Anchor(40, 0))
        lane.stop()
        await running
        assert [len(done.timestamps_ms) for done in watching.done] == [1, 3]

    asyncio.run(scenario())


def test_a_full_micro_batch_is_played_during_the_commit_before_it_and_no_further_one() -> None:
    async def scenario() -> None:
        gate, watching = Gate(), Watching()
        lane = lane_of(gate, watching)
        running = asyncio.create_task(lane.run())
        lane.offer(chunk(0, 20))
        await until(lambda: len(gate.packed) == 2)
        await asyncio.sleep(0.05)
        assert len(gate.packed) == 2
        assert lane.oldest_ms == 1_000
        gate.open.set()
        await until(lambda: gate.ends == [4, 8, 12, 16, 20])
        lane.stop()
        await running

    asyncio.run(scenario())


def test_stopping_delivers_what_was_taken_and_leaves_what_was_not() -> None:
    async def scenario() -> None:
        gate = Gate()
        lane = lane_of(gate, Watching())
        running = asyncio.create_task(lane.run())
        lane.offer(chunk(0, 20))
        await until(lambda: len(gate.packed) == 2)
        lane.stop()
        gate.open.set()
        await running
        assert gate.ends == [4, 8]
        assert (lane.committed, lane.true) == (8, True)

    asyncio.run(scenario())


@pytest.mark.parametrize("where", ["play", "commit"])
def test_after_a_failure_nothing_is_committed_and_the_store_is_not_trusted(where: str) -> None:
    def broken(*arguments: Any) -> Any:
        if where == "play":
            raise ZeroDivisionError
        return play(*arguments)

    async def scenario() -> None:
        gate = Gate()
        gate.open.set()
        gate.error = ZeroDivisionError() if where == "commit" else None
        lane = lane_of(gate, Watching(), Core(store=CountingStore, play=broken))
        lane.offer(chunk(0, 9))
        with pytest.raises(ZeroDivisionError):
            await lane.run()
        assert (gate.ends, lane.committed, lane.true) == ([], 0, False)

    asyncio.run(scenario())


def test_predictions_carry_measured_times_in_a_header_and_nowhere_else() -> None:
    async def scenario() -> None:
        gate = Gate()
        gate.open.set()
        lane = lane_of(gate, Watching())
        running = asyncio.create_task(lane.run())
        lane.offer(chunk(0, 3))
        await until(lambda: gate.ends == [3])
        lane.stop()
        await running
        (results,) = gate.packed
        assert list(results.headers) == ["a.predictions"]
        ((name, value),) = results.headers["a.predictions"]
        assert name == LATENCY
        assert set(json.loads(value)) == {"received_ms", "wait_us", "decide_us"}
        assert results.outputs["a.predictions"] == [
            (b"k", b"[0, 0, 1]"), (b"k", b"[0, 1, 2]"), (b"k", b"[0, 2, 3]"),
        ]  # fmt: skip

    asyncio.run(scenario())


def test_a_producers_own_clock_vouches_for_nothing() -> None:
    inbox = Inbox(0)
    rows = [Row(0, timestamp=7, timestamp_type=1), Row(1, timestamp=8, timestamp_type=0)]
    inbox.offer(Chunk("t", 3, 0, 2, rows, 1.0))
    taken = inbox.take(9)
    assert taken is not None
    batch = event_batch("t", 3, taken)
    assert (batch.topic, batch.partition, batch.next_offset) == ("t", 3, 2)
    assert batch.timestamps_ms == [7, -1]


class Helm:
    """Steering that a test turns: what is wanted differs from what the store plays under."""

    def __init__(self) -> None:
        self.wanted = self.played = 0
        self.present: list[int] = []
        self.wake: Callable[[], None] = lambda: None

    async def join(self, store: Any, wake: Callable[[], None], fixed_until: int) -> None:
        self.present.append(store.partition)
        self.wake = wake

    def leave(self, store: Any) -> None:
        if store.partition in self.present:
            self.present.remove(store.partition)

    def in_force(self, store: Any) -> int:
        return self.played

    def is_due(self, store: Any) -> bool:
        return self.wanted != self.played

    def play(self, batch: EventBatch, store: Any, mark: Any) -> Any:
        outputs = play(batch, store, mark)
        self.played = self.wanted
        return outputs


def turn(helm: Helm, wanted: int) -> None:
    helm.wanted = wanted
    helm.wake()


def test_an_order_is_committed_by_the_next_batch_or_by_an_empty_one() -> None:
    async def scenario() -> None:
        gate, watching, helm = Gate(), Watching(), Helm()
        gate.open.set()
        lane = lane_of(gate, watching, Core(CountingStore, helm.play, helm))
        helm.wanted = 1
        lane.offer(chunk(0, 3))
        running = asyncio.create_task(lane.run())
        # What was ordered before is in force from the first event.
        await until(lambda: gate.ends == [0, 3])
        assert [(done.route, len(done.timestamps_ms)) for done in watching.done] == [(0, 0), (1, 3)]
        assert helm.present == [0]
        turn(helm, 2)
        await until(lambda: gate.ends == [0, 3, 3])
        assert (lane.committed, lane.true, lane.idle) == (3, True, True)
        # With events waiting it travels with them.
        gate.open.clear()
        lane.offer(chunk(3, 4))
        await until(lambda: len(gate.packed) == 4)
        turn(helm, 3)
        lane.offer(chunk(4, 6))
        gate.open.set()
        await until(lambda: gate.ends == [0, 3, 3, 4, 6])
        assert [done.route for done in watching.done] == [0, 1, 1, 2, 2]
        assert helm.played == 3
        lane.stop()
        await running
        assert helm.present == []

    asyncio.run(scenario())


def test_what_the_record_names_and_nobody_has_ends_the_lane() -> None:
    class Nowhere(Helm):
        async def join(self, store: Any, wake: Callable[[], None], fixed_until: int) -> None:
            raise LookupError("no such model")

    async def scenario() -> None:
        helm = Nowhere()
        lane = lane_of(Gate(), Watching(), Core(CountingStore, helm.play, helm))
        with pytest.raises(LookupError):
            await lane.run()

    asyncio.run(scenario())


def test_only_at_least_once_an_earlier_owner_may_have_published(topic_prefix: str) -> None:
    careful = config("nowhere:1", topic_prefix, max_batch_events=100, delivery="at_least_once")
    assert fixed_until(careful, 50, 1_000) == 150
    assert fixed_until(careful, 50, 60) == 60
    assert fixed_until(replace(careful, delivery="exactly_once"), 50, 1_000) == 0
