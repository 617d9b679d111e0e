"""One partition's loop: greedy, at most one batch ahead, and honest about what is committed."""

import asyncio
import json
from typing import Any, NamedTuple

import pytest

from stream_app.kafka.delivery import Results
from stream_app.kafka.inbox import Chunk, Inbox
from stream_app.kafka.lane import LATENCY, Core, Lane, Stages, event_batch
from stream_app.kafka.packing import Packed
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

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.packed: list[Results] = []
        self.ends: list[int] = []
        self.at_once = 0
        self.error: Exception | None = None

    def pack(self, results: Results) -> list[Packed]:
        self.packed.append(results)
        return []

    async def commit(self, packed: list[Packed], end: int) -> int:
        self.at_once += 1
        assert self.at_once == 1, "two transactions of one partition at a time"
        await self.open.wait()
        self.at_once -= 1
        if self.error is not None:
            raise self.error
        self.ends.append(end)
        return 10 * end

    async def close(self) -> None: ...


def lane_of(gate: Gate, watching: Watching, core: Core = CORE) -> Lane:
    return Lane(SHELL, core, 0, CountingStore(0), Inbox(0), gate, watching, lambda waiting: None)


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
        assert (lane.committed, lane.true, lane.changelog_end) == (4, True, 40)
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


def test_stages_add_up_to_the_time_that_passed() -> None:
    clock = Stages(received=0.0)
    clock.mark("wait")
    for _ in range(3):
        clock.mark("decode")
        clock.mark("decide")
    assert set(clock.seconds) == {"wait", "decode", "decide"}
    assert sum(clock.seconds.values()) == pytest.approx(clock._last)
