"""The worker as a Faust app: one table, one input topic, one agent.

All that is Faust about ClickAhead is here; how its parts are hardened is `stream_app.kafka`.
"""

from functools import partial
from hashlib import blake2b
from typing import Any

from model.spec import Engine
from stream_app.core.config import CoreConfig
from stream_app.core.state import FORMAT
from stream_app.core.store import PartitionStore
from stream_app.kafka.application import Application, AsItIs
from stream_app.kafka.contract import Core
from stream_app.kafka.observer import Observer
from stream_app.kafka.preflight import Ground
from stream_app.kafka.shell_config import TABLE, ShellConfig
from stream_app.orders import CONTROL, ITEMS
from stream_app.settings import Settings
from stream_app.steering import Steering

OUTPUTS = ("predictions", "anomalies", "rejected")
"""Fields of the core's OutputBatch, which are roles of topics, too."""

NEEDED = frozenset({"events", CONTROL, ITEMS, *OUTPUTS})


def create_app(
    settings: Settings, ground: Ground, steering: Steering, observer: Observer
) -> Application:
    """The worker that the settings describe. Call it in the event loop that will run it."""
    return create_application(shell_config(settings, ground), core_of(settings, steering), observer)


def create_application(shell: ShellConfig, core: Core, observer: Observer) -> Application:
    """A Faust app that plays ``shell.source`` through ``core``; it starts nothing yet."""
    app = Application(shell, core, observer)
    clicks = app.topic(shell.source, schema=AsItIs(), acks=False)
    app.Table(TABLE, partitions=shell.partitions, partitions_of=app.partitions)

    @app.agent(clicks, name="click")
    async def click(chunks: Any) -> None:
        async for chunk in chunks:
            app.lanes.offer(chunk)

    return app


def core_of(settings: Settings, steering: Steering) -> Core:
    """The core of `stream_app.core`; a partition that nobody served begins with the own model."""
    config, own = settings.core_config(), steering.engines[steering.engines.own]
    return Core(
        store=partial(PartitionStore, engine=own, config=config),
        play=steering.play,
        steering=steering,
        identity=identity_of(config, own),
    )


def identity_of(config: CoreConfig, engine: Engine) -> str:
    """What can read state that this core wrote: the same format and model, under the same key."""
    parts = (b"%d" % FORMAT, engine.fingerprint, config.pseudonym_key)
    return blake2b(
        b"".join(len(p).to_bytes(4, "big") + p for p in parts), digest_size=16
    ).hexdigest()


def shell_config(settings: Settings, ground: Ground) -> ShellConfig:
    """What the Kafka shell is told."""
    worker = settings.worker
    return ShellConfig(
        app_id=worker.app_id,
        client=settings.connection().client(),
        source=settings.topic("events"),
        partitions=ground.partitions,
        outputs={name: settings.topic(name) for name in OUTPUTS},
        delivery=worker.delivery,
        max_batch_events=worker.max_batch_events,
        batch_target_ms=worker.batch_target_ms,
        instance_id=worker.instance_id,
        session_timeout_ms=worker.session_timeout_ms,
        heartbeat_interval_ms=min(3_000, worker.session_timeout_ms // 3),
        replication_factor=settings.kafka.replication_factor,
        max_record_bytes=ground.max_record_bytes,
        state_dir=worker.state_dir,
    )
