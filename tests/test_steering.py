"""Orders and overload reach a partition between two micro-batches, recorded before they count."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from model.engine import OnnxEngine, open_engine
from model.spec import Engine
from stream_app.core.events import Prediction
from stream_app.core.pipeline import unmeasured
from stream_app.core.privacy import pseudonymiser
from stream_app.core.store import PartitionStore
from stream_app.engines import Engines
from stream_app.kafka.side_inputs import SideRecord
from stream_app.orders import CONTROL, ITEMS, Ledger
from stream_app.overload import OverloadConfig
from stream_app.steering import Steering
from tests.core.streams import CONFIG, KEY, START_MS, event_batch

Make = Callable[..., OnnxEngine]
PSEUDONYM = pseudonymiser(KEY)
OVERLOAD = OverloadConfig(lag_ms=1_000, recover_ms=500)


class Counted:
    """Counts what is refused."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def refused(self, role: str, count: int) -> None:
        self.counts[role] += count


class Ship:
    """A steering with one partition, a clock that is moved, and topics that are written to."""

    def __init__(self, own: Engine, others: Mapping[str, Engine] | None = None) -> None:
        self.now_ms = START_MS
        self.watcher, self.wakes = Counted(), 0
        others = others or {}
        engines = Engines(
            own, lambda: {v: Path(v) for v in others}, lambda folder: others[folder.name]
        )
        self.steering = Steering(
            engines, Ledger(PSEUDONYM), OVERLOAD, lambda: self.now_ms, self.watcher
        )
        self.own, self.store = own, PartitionStore(0, own, CONFIG)
        self.offsets: Counter[str] = Counter()

    async def ordered(self, *values: bytes | None, role: str = CONTROL) -> None:
        first = self.offsets[role]
        self.offsets[role] += len(values)
        records = [SideRecord(first + n, b"k", value) for n, value in enumerate(values)]
        self.steering.take(role, records)
        await self.steering.settle()

    async def join(self, fixed_until: int = 0) -> None:
        await self.steering.join(self.store, self.woken, fixed_until)

    def woken(self) -> None:
        self.wakes += 1

    def plays(self, *values: bytes, age_ms: int = 0) -> list[Prediction]:
        batch = event_batch(list(values), self.store.next_offset)
        batch = msgspec.structs.replace(batch, timestamps_ms=[self.now_ms - age_ms] * len(values))
        out = self.steering.play(batch, self.store, unmeasured)
        return [msgspec.json.decode(record.value, type=Prediction) for record in out.predictions]

    def settles(self) -> int:
        """Empty micro-batches until nothing is due."""
        for count in range(5):
            if not self.steering.is_due(self.store):
                return count
            self.plays()
        raise AssertionError("something stays due")


def order(name: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"order": name, **fields})


def click(at_ms: int = START_MS, **fields: Any) -> bytes:
    return json.dumps({"user_id": "u", "timestamp": at_ms, "item_id": "i1", **fields}).encode()


def test_what_may_be_published_already_is_played_as_it_was(tiny_engine_with: Make) -> None:
    async def scenario() -> None:
        ship = Ship(tiny_engine_with())
        await ship.ordered(order("block_item", item_id="i3"))
        await ship.join(fixed_until=3)
        assert not ship.steering.is_due(ship.store)
        (first,), (second, third) = ship.plays(click()), ship.plays(click(), click())
        # The batch that reaches the offset records the order; the one after it obeys.
        assert [made.as_of for made in (first, second, third)] == [0, 0, 0]
        assert [made.as_of for made in ship.plays(click())] == [1]

    asyncio.run(scenario())


def test_an_earlier_batch_fixes_nothing_once_it_is_behind(tiny_engine_with: Make) -> None:
    async def scenario() -> None:
        ship = Ship(tiny_engine_with())
        await ship.join(fixed_until=2)
        ship.plays(click(), click())
        await ship.ordered(order("block_item", item_id="i3"))
        assert ship.settles()
        assert [made.as_of for made in ship.plays(click())] == [1]

    asyncio.run(scenario())


def test_an_order_counts_from_the_batch_after_the_one_that_records_it(
    tiny_engine_with: Make,
) -> None:
    async def scenario() -> None:
        ship = Ship(tiny_engine_with())
        await ship.join()
        assert ship.settles() == 0
        await ship.ordered(order("block_item", item_id="i3"))
        assert ship.wakes == 1
        assert ship.steering.is_due(ship.store)
        (first,) = ship.plays(click())
        (second,) = ship.plays(click())
        assert (first.as_of, second.as_of) == (0, 1)
        assert "i3" not in {item.item_id for item in second.items}
        assert ship.settles() == 0

    asyncio.run(scenario())


def test_without_events_empty_batches_record_orders_and_carry_out_erasures(
    tiny_engine_with: Make,
) -> None:
    async def scenario() -> None:
        ship = Ship(tiny_engine_with())
        await ship.join()
        ship.plays(click())
        assert ship.store.users == 1
        await ship.ordered(order("erase_user", user_id="u"))
        assert 1 <= ship.settles() <= 2
        assert ship.store.users == 0
        assert ship.store.record.as_of == 1

    asyncio.run(scenario())


def test_a_catalogue_that_blocks_nothing_new_is_not_worth_a_batch(tiny_engine_with: Make) -> None:
    async def scenario() -> None:
        ship = Ship(tiny_engine_with())
        await ship.join()
        await ship.ordered(b'{"item_id": "i5"}', b"rubbish", role=ITEMS)
        assert not ship.steering.is_due(ship.store)
        assert ship.watcher.counts == {ITEMS: 1}
        ship.plays(click())
        assert ship.store.record.items_as_of == 2
        await ship.ordered(b'{"item_id": "i5", "blocked": true}', role=ITEMS)
        assert ship.steering.is_due(ship.store)

    asyncio.run(scenario())


def test_a_promoted_model_is_open_before_it_answers_and_the_other_is_let_go(
    tiny_engine_with: Make,
) -> None:
    own, better = tiny_engine_with(), tiny_engine_with(seed=1)

    async def scenario() -> None:
        ship = Ship(own, {better.version: better})
        await ship.join()
        (first,) = ship.plays(click())
        await ship.ordered(order("promote", model=better.version))
        (second,) = ship.plays(click(START_MS + 1))
        (third,) = ship.plays(click(START_MS + 2))
        assert [first.model, second.model, third.model] == [
            own.version, own.version, better.version,
        ]  # fmt: skip
        await ship.ordered(order("roll_back"))
        assert set(ship.steering.engines) == {own.version, better.version}
        ship.settles()
        assert ship.plays(click(START_MS + 3))[0].model == own.version
        assert set(ship.steering.engines) == {own.version}

    asyncio.run(scenario())


def test_an_order_for_a_model_that_is_not_there_is_refused_and_the_live_one_stays(
    tiny_engine_with: Make, caplog: pytest.LogCaptureFixture
) -> None:
    own = tiny_engine_with()

    async def scenario() -> None:
        ship = Ship(own)
        await ship.join()
        await ship.ordered(order("promote", model="gru-0000000000000000"))
        assert ship.watcher.counts == {CONTROL: 1}
        assert ship.settles() >= 1
        assert ship.plays(click())[0].model == own.version
        assert ship.store.record.as_of == 1
        # What was said once is not said again with the next order.
        await ship.ordered(order("block_item", item_id="i1"))
        assert ship.watcher.counts == {CONTROL: 1}
        assert caplog.text.count("gru-0000000000000000") == 1

    asyncio.run(scenario())


def test_rubbish_moves_on_and_is_counted(tiny_engine_with: Make) -> None:
    async def scenario() -> None:
        ship = Ship(tiny_engine_with())
        await ship.join()
        await ship.ordered(b"\xff", b"[" * 9_000, order("dance"), None)
        assert ship.watcher.counts == {CONTROL: 3}
        ship.settles()
        assert ship.store.record.as_of == 4

    asyncio.run(scenario())


def test_lag_degrades_is_flagged_and_recovers_without_input(tiny_engine_with: Make) -> None:
    async def scenario() -> None:
        ship = Ship(tiny_engine_with())
        await ship.join()
        ship.now_ms += 10_000
        (first,) = ship.plays(click(), age_ms=5_000)
        (second,) = ship.plays(click(START_MS + 1), age_ms=5_000)
        assert (first.degraded, second.degraded) == (0, 3)
        levels = []
        for _ in range(40):
            ship.now_ms += 100
            if ship.steering.is_due(ship.store):
                ship.plays()
            levels.append(ship.store.record.degraded)
        assert levels == sorted(levels, reverse=True)
        assert set(levels) == {3, 2, 1, 0}

    asyncio.run(scenario())


def test_a_backlog_of_yesterday_is_no_overload_yet(tiny_engine_with: Make) -> None:
    async def scenario() -> None:
        ship = Ship(tiny_engine_with())
        await ship.join()
        ship.plays(click(), age_ms=86_400_000)
        assert ship.store.record.degraded == 0
        ship.now_ms += 1_000
        ship.plays(click(), age_ms=86_400_000)
        assert ship.store.record.degraded == 1

    asyncio.run(scenario())


def test_after_a_crash_a_partition_goes_on_as_of_where_it_was(tiny_engine_with: Make) -> None:
    own, better = tiny_engine_with(), tiny_engine_with(seed=1)

    async def scenario() -> None:
        before = Ship(own, {better.version: better})
        await before.join()
        await before.ordered(
            order("promote", model=better.version), order("block_item", item_id="i3")
        )
        before.settles()
        expected = before.plays(click())
        changes = before.store.take_changes()

        after = Ship(own, {better.version: better})
        after.store.restore(changes)
        after.store.recovered()
        # Another order has come since.
        await after.ordered(
            order("promote", model=better.version), order("block_item", item_id="i3"),
            order("unblock_item", item_id="i3"),
        )  # fmt: skip
        await after.join()
        route = after.steering.in_force(after.store)
        assert (route.live, route.as_of, route.blocked) == (better.version, 2, {"i3"})
        assert after.steering.is_due(after.store)
        assert expected[0].model == better.version
        after.settles()
        assert after.steering.in_force(after.store).blocked == frozenset()

    asyncio.run(scenario())


def test_state_of_a_model_that_is_not_there_goes_on_under_the_next(
    tiny_engine_with: Make, caplog: pytest.LogCaptureFixture
) -> None:
    gone, own = tiny_engine_with(), tiny_engine_with(seed=1)

    async def scenario() -> None:
        before = Ship(gone)
        await before.join()
        before.plays(click())
        after = Ship(own)
        after.store.restore(before.store.take_changes())
        after.store.recovered()
        await after.join()
        assert gone.version in caplog.text
        assert after.settles() == 1
        assert after.plays(click(START_MS + 1))[0].model == own.version

    asyncio.run(scenario())


def test_run_settles_what_is_taken_and_wakes_what_is_degraded(
    tiny_engine_with: Make, tiny_model: Path
) -> None:
    async def scenario() -> None:
        ship = Ship(tiny_engine_with(), {"x": open_engine(tiny_model)})
        await ship.join()
        running = asyncio.create_task(ship.steering.run())
        ship.steering.take(CONTROL, [SideRecord(0, b"k", order("block_item", item_id="i1"))])
        for _ in range(100):
            await asyncio.sleep(0.01)
            if ship.wakes:
                break
        assert ship.steering.is_due(ship.store)
        running.cancel()

    asyncio.run(scenario())
