"""From settings to a `Steering` that follows the side inputs, and to the guard beside it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from model.spec import Engine
from stream_app.core.privacy import pseudonymiser
from stream_app.engines import Engines, Find, Open
from stream_app.guard import GuardConfig
from stream_app.guarding import Keeper
from stream_app.kafka.control_topic import write_order
from stream_app.kafka.side_inputs import following
from stream_app.orders import CONTROL, ITEMS, Ledger
from stream_app.overload import OverloadConfig
from stream_app.settings import Settings
from stream_app.steering import Steering, Watcher


def overload_of(settings: Settings) -> OverloadConfig:
    section = settings.overload
    return OverloadConfig(
        lag_ms=round(section.lag_seconds * 1000) or None,
        recover_ms=round(section.recover_seconds * 1000),
    )


def guard_of(settings: Settings) -> GuardConfig:
    return GuardConfig(**settings.guard.model_dump())


def steering_of(
    settings: Settings, own: Engine, find: Find, open_: Open, watcher: Watcher
) -> Steering:
    """A steering that has read nothing yet. ``find`` and ``open_``: see `Engines`."""
    return Steering(
        Engines(own, find, open_),
        Ledger(pseudonymiser(settings.core_config().pseudonym_key)),
        overload_of(settings),
        lambda: time.time_ns() // 1_000_000,
        watcher,
    )


@asynccontextmanager
async def at_the_helm(
    settings: Settings, steering: Steering, fail: Callable[[BaseException], None]
) -> AsyncIterator[None]:
    """Steer by the side inputs. Entered when both are read whole and their orders are ready to take
    effect; ``fail`` is called when they cannot be followed any more.

    Raises what `following` raises.
    """
    topics = {role: settings.topic(role) for role in (CONTROL, ITEMS)}
    async with following(settings.connection(), topics, steering.take, fail):
        await steering.settle()
        running = asyncio.create_task(steering.run())
        running.add_done_callback(lambda done: _report(done, fail))
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await running


def _report(done: asyncio.Task[None], fail: Callable[[BaseException], None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        fail(error)


def keeper_of(settings: Settings, steering: Steering, rolled_back: Callable[[str], None]) -> Keeper:
    """The guard that writes to this installation's control topic."""
    connection, topic = settings.connection(), settings.topic(CONTROL)
    return Keeper(
        guard_of(settings),
        lambda key, value: write_order(connection, topic, key, value),
        lambda: steering.ordered_live,
        pseudonymiser(settings.core_config().pseudonym_key),
        random.random,
        rolled_back,
    )
