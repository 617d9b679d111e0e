"""The keeper orders one roll-back, and only while the model that it found wanting still answers."""

import asyncio
import json
from collections.abc import Callable

import numpy as np

from stream_app import guarding
from stream_app.core.batch import OutputBatch, RecallSums, Route
from stream_app.core.privacy import pseudonymiser
from stream_app.guard import GuardConfig
from stream_app.guarding import Keeper
from stream_app.kafka.observer import Done
from tests.kafka.ledger import until

CONFIG = GuardConfig(min_events=500, settle_events=0)
PSEUDONYM = pseudonymiser(b"0123456789abcdef")


class Stage:
    """A control topic, the model that answers, and what was counted."""

    def __init__(self) -> None:
        self.live = "b-2"
        self.written: list[tuple[bytes, bytes]] = []
        self.counted: list[str] = []
        self.failures = 0

    async def write(self, key: bytes, value: bytes) -> int:
        if self.failures:
            self.failures -= 1
            raise OSError("no Kafka")
        self.written.append((key, value))
        self.live = "a-1"
        return 7

    def keeper(self, chance: Callable[[], float] = lambda: 0.0) -> Keeper:
        return Keeper(CONFIG, self.write, lambda: self.live, PSEUDONYM, chance, self.counted.append)


def done(model: str, hits: int, degraded: int = 0) -> Done:
    outputs = OutputBatch(recall=RecallSums(judged=100, hits=hits))
    route = Route(live=model, degraded=degraded)
    return Done(0, outputs, [1_000] * 100, 1_020, {}, 0, route)


def worse(*keepers: Keeper) -> None:
    """A model that halves the recall of the one before."""
    for model, hits in (("a-1", 60), ("b-2", 10)):
        for _ in range(20):
            for keeper in keepers:
                keeper.batch(done(model, hits))


def test_a_breach_is_answered_once_with_the_model_before() -> None:
    async def scenario() -> None:
        stage = Stage()
        worse(stage.keeper())
        await until(lambda: bool(stage.written), 2.0)
        await asyncio.sleep(0.05)
        ((key, value),) = stage.written
        assert key == b"model"
        order = json.loads(value)
        assert (order["order"], order["model"]) == ("roll_back", "a-1")
        assert stage.counted == ["recall"]

    asyncio.run(scenario())


def test_of_workers_that_find_the_same_breach_one_orders() -> None:
    async def scenario() -> None:
        stage = Stage()
        chances = np.linspace(0, 0.2, 4).tolist()
        keepers = [stage.keeper(lambda chance=chance: chance) for chance in chances]  # type: ignore[misc]
        worse(*keepers)
        await asyncio.sleep(0.2 * guarding.STAGGER_SECONDS + 0.2)
        assert len(stage.written) == 1
        assert stage.counted == ["recall"]

    asyncio.run(scenario())


def test_a_model_that_somebody_took_back_already_is_left_alone() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.live = "c-3"
        worse(stage.keeper())
        await asyncio.sleep(0.05)
        assert stage.written == []

    asyncio.run(scenario())


def test_what_overload_left_out_is_not_the_models_fault() -> None:
    async def scenario() -> None:
        stage = Stage()
        keeper = stage.keeper()
        for _ in range(20):
            keeper.batch(done("a-1", 60))
        for _ in range(20):
            keeper.batch(done("b-2", 0, degraded=3))
        await asyncio.sleep(0.05)
        assert stage.written == []

    asyncio.run(scenario())


def test_a_kafka_that_is_away_is_asked_again() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.failures = 1
        keeper = stage.keeper()
        worse(keeper)
        await asyncio.sleep(0.05)
        assert stage.written == []
        await until(lambda: bool(stage.written), guarding.RETRY_SECONDS + 2)
        await keeper.close()

    asyncio.run(scenario())
