"""``clickahead worker``: predict and judge every click of the input topic, until told to stop."""

import logging
import time
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from prometheus_client import CollectorRegistry

from model.checkpoint import MANIFEST_FILE, Manifest
from model.engine import EngineError, OnnxEngine, open_engine
from model.spec import Engine
from stream_app.app import NEEDED, create_app
from stream_app.cli import version
from stream_app.core.events import TOPICS
from stream_app.delegates import Delegate, Meter, Metered
from stream_app.guarding import Keeper
from stream_app.helm import at_the_helm, keeper_of, steering_of
from stream_app.invocation import UserError, settings_of
from stream_app.kafka.application import Application
from stream_app.kafka.observer import Done, Restored
from stream_app.kafka.preflight import inspect
from stream_app.kafka.shell_config import changelog_of
from stream_app.log_output import set_up_log
from stream_app.metrics import About, Metrics
from stream_app.metrics_server import MetricsServer
from stream_app.models_folder import models_in, own_model
from stream_app.notices import OUT_OF_VOCABULARY
from stream_app.settings import Settings
from stream_app.slow_forms import slow_forms
from stream_app.worker import run

log = logging.getLogger(__name__)

NOTICES = {"out_of_vocabulary": OUT_OF_VOCABULARY}


def command(
    context: typer.Context,
    model: Annotated[
        Path | None, typer.Option(help="A trained model's folder; else worker.model_dir.")
    ] = None,
) -> int:
    """Serve the input topic. Start as many workers as it has partitions, or fewer.

    SIGTERM or Ctrl-C ends it after the micro-batch in flight; whatever else ends it, the next start
    goes on where it stopped.
    """
    settings = settings_of(context, {} if model is None else {"worker.model_dir": str(model)})
    set_up_log(settings.worker.log_level, settings.worker.log_format)
    for sentence in (*settings.warnings(), *slow_forms()):
        log.warning("%s", sentence)
    return run(lambda: prepared(settings))


@asynccontextmanager
async def prepared(settings: Settings) -> AsyncIterator[Application]:
    """The app of these settings, with its metrics served, after all checks.

    Raises:
        UserError: the model folder will not do.
        PreflightFailed, KafkaUnreachable, MetricsPortUnusable: as they say.
    """
    worker = settings.worker
    meter = Meter(time.thread_time_ns)
    opened, trained = opened_model(own_model(worker.model_dir, worker.models))
    engine = Metered(opened, meter)
    ground = await inspect(
        settings.connection(),
        {role: settings.topic(role) for role in TOPICS},
        changelog_of(settings.worker.app_id),
        settings.worker.partitions,
        NEEDED,
    )
    about = About(
        version=version(),
        delivery=settings.worker.delivery,
        model=engine.spec.name,
        model_version=engine.version,
        trained_at=trained,
        flag_budget=settings.alerts.rate,
        scan_recall=lambda: scan_recall(steering.engines.values()),
        inference_seconds=lambda: meter.seconds,
    )
    watched = Watched(CollectorRegistry(), time.time, about)
    steering = steering_of(
        settings,
        engine,
        models_in(settings.worker.models),
        lambda folder: Metered(open_engine(folder), meter),
        watched.steering,
    )
    server = MetricsServer(watched, settings.worker.metrics_host, settings.worker.metrics_port)
    await server.start()
    watched.keeper = keeper_of(settings, steering, watched.steering.rolled_back)
    apps: list[Application] = []
    try:
        async with at_the_helm(settings, steering, lambda error: apps[0].fail(error)):
            apps.append(create_app(settings, ground, steering, watched))
            yield apps[0]
    finally:
        await watched.keeper.close()
        await server.stop()


def opened_model(directory: Path) -> tuple[OnnxEngine, float | None]:
    """The engine of a model folder, and when it was trained in seconds since the epoch."""
    try:
        engine = open_engine(directory)
    except EngineError as error:
        raise UserError(str(error)) from error
    manifest = msgspec.json.decode((directory / MANIFEST_FILE).read_bytes(), type=Manifest)
    created = manifest.created_at
    return engine, datetime.fromisoformat(created).timestamp() if created else None


def scan_recall(engines: Iterable[Engine]) -> float | None:
    """The least among the models that are open."""
    open_ = [engine.engine if isinstance(engine, Delegate) else engine for engine in engines]
    told = [engine.scan_recall for engine in open_ if isinstance(engine, OnnxEngine)]
    return min((recall for recall in told if recall is not None), default=None)


class Watched(Metrics):
    """Metrics, a line in the log for what somebody will look for there, and the guard's eyes."""

    keeper: Keeper | None = None

    def batch(self, done: Done) -> None:
        super().batch(done)
        if self.keeper is not None:
            self.keeper.batch(done)
        # A change of models is told by who steers.
        for notice in NOTICES.keys() & set(done.outputs.notices):
            log.warning("Partition %d: %s", done.partition, NOTICES[notice])
        if done.oversized:
            log.error(
                "Partition %d: %d outputs were larger than their topic takes; a stub without a"
                " value stands for each. Raise the topic's max.message.bytes.",
                done.partition, done.oversized,
            )  # fmt: skip

    def rebalanced(self, partitions: Collection[int]) -> None:
        super().rebalanced(partitions)
        log.info("The group gave this worker the partitions %s.", sorted(partitions))

    def restored(self, restored: Restored) -> None:
        super().restored(restored)
        log.info(
            "Ready: %d partitions, %d changelog records restored in %.1f s (%d were still in"
            " memory, %d came from files).", restored.partitions, restored.records,
            restored.seconds, restored.warm, restored.from_files,
        )  # fmt: skip
