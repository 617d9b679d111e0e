"""From settings and a model to the Faust app that serves them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import faust
import msgspec
from prometheus_client import CollectorRegistry

from model.engine import OnnxEngine, open_engine
from stream_app.app import NEEDED, OUTPUTS, core_of, create_app, identity_of, shell_config
from stream_app.core.batch import EventBatch, OutputBatch
from stream_app.helm import steering_of
from stream_app.kafka.observer import Unobserved
from stream_app.kafka.preflight import Ground
from stream_app.metrics_steering import SteeringMetrics
from stream_app.settings import load
from stream_app.steering import Steering

SETTINGS = load(
    None,
    {
        "CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS": "one:9092,two:9092",
        "CLICKAHEAD_INPUT__TOPIC": "shop.clicks",
        "CLICKAHEAD_WORKER__APP_ID": "shop",
        "CLICKAHEAD_WORKER__DELIVERY": "at_least_once",
        "CLICKAHEAD_WORKER__INSTANCE_ID": "pod-0",
        "CLICKAHEAD_WORKER__SESSION_TIMEOUT_MS": "6000",
    },
    {},
)
GROUND = Ground(partitions=6, max_record_bytes={"shop.clicks": 5_000})


def test_the_shell_is_told_what_the_settings_and_the_cluster_say() -> None:
    shell = shell_config(SETTINGS, GROUND)
    assert shell.client["bootstrap_servers"] == ["one:9092", "two:9092"]
    assert (shell.app_id, shell.source, shell.partitions) == ("shop", "shop.clicks", 6)
    assert shell.outputs == {name: f"clickahead.{name}" for name in OUTPUTS}
    assert (shell.delivery, shell.instance_id) == ("at_least_once", "pod-0")
    # A member that misses a heartbeat or two is still alive.
    assert 3 * shell.heartbeat_interval_ms <= shell.session_timeout_ms == 6_000
    assert shell.max_record_bytes == GROUND.max_record_bytes
    assert {"events", "control", "items", *OUTPUTS} == NEEDED


def steering(engine: OnnxEngine) -> Steering:
    return steering_of(SETTINGS, engine, dict, open_engine, SteeringMetrics(CollectorRegistry()))


def test_the_core_plays_a_batch_on_a_partitions_own_store(tiny_engine: OnnxEngine) -> None:
    async def scenario() -> None:
        core, stages = core_of(SETTINGS, steering(tiny_engine)), []
        store = core.store(5)
        await core.steering.join(store, lambda: None, 0)
        batch = EventBatch(
            topic="shop.clicks", partition=5, offsets=[7, 8], timestamps_ms=[-1, -1],
            keys=[b"u", None], headers=[(), ()], next_offset=9,
            values=[b'{"user_id":"u","timestamp":1700000000000,"item_id":"i1"}', b"\xff"],
        )  # fmt: skip
        out = core.play(batch, store, stages.append)
        assert isinstance(out, OutputBatch)
        assert (len(out.predictions), len(out.rejected)) == (1, 1)
        assert store.next_offset == 9
        assert {"decode", "advance", "decide"} <= set(stages)
        assert all(hasattr(out, field) for field in (*OUTPUTS, *core.measured))

    asyncio.run(scenario())


def test_the_app_is_a_faust_app_for_that_group(tiny_engine: OnnxEngine) -> None:
    async def made() -> faust.App:
        return create_app(SETTINGS, GROUND, steering(tiny_engine), Unobserved())

    app = asyncio.run(made())
    assert isinstance(app, faust.App)
    assert app.conf.id == "shop"
    assert [str(url) for url in app.conf.broker] == ["kafka://one:9092", "kafka://two:9092"]
    assert app.tables.changelog_topics == {"shop-state-changelog"}
    assert replace(app.shell, app_id="x").changelog == "x-state-changelog"


def test_state_is_read_by_the_same_format_model_and_key_alone(
    tiny_engine: OnnxEngine, tiny_engine_with: Callable[..., OnnxEngine]
) -> None:
    config = load(None, {}, {}).core_config()
    own = identity_of(config, tiny_engine)
    assert identity_of(config, tiny_engine) == own
    assert identity_of(config, tiny_engine_with(ring_length=4)) != own
    assert identity_of(msgspec.structs.replace(config, pseudonym_key=b"k" * 16), tiny_engine) != own
