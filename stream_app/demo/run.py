"""Start everything, show it, prove that nothing was lost, and stop everything that was started."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console

from stream_app.commands.topics import ensured
from stream_app.core.events import TOPICS
from stream_app.demo.options import DemoOptions
from stream_app.demo.show import Show
from stream_app.demo.worker_process import WorkerProcess
from stream_app.files import FileEvent
from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.jars import Report, ensure_jars
from stream_app.kafka.topic_reader import extents, partitions_of, reader
from stream_app.pace import at_rate
from stream_app.produce import Produced, produce, producer_of
from stream_app.settings import Settings
from stream_app.verify import Audit, audit

DRAIN_SECONDS = 60.0

SettingsFor = Callable[[str], Settings]
EnvironFor = Callable[[str], Mapping[str, str]]
Events = Callable[[], Iterator[FileEvent]]


class NotDrained(RuntimeError):
    """The worker did not get through the events that were sent to it in time."""

    exit_code = 1


async def run_demo(
    options: DemoOptions,
    settings_for: SettingsFor,
    environ_for: EnvironFor,
    events: Events,
    console: Console,
    jar_report: Report,
) -> Audit:
    """The whole demo; ``settings_for`` and ``environ_for`` are given the broker's address.

    Raises what its parts raise, after everything that it started has ended.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    jars = await asyncio.to_thread(ensure_jars, options.cache, report=jar_report)
    async with _kafka(options.directory, jars, console) as servers:
        settings = settings_for(servers)
        connection = settings.connection()
        names = {role: settings.topic(role) for role in TOPICS}
        await ensured(settings, create=True)
        async with _worker(environ_for(servers), options.directory / "worker.log", console) as own:
            show = Show(options, names, settings.core_config(), console, own.check)
            async with show.following(connection):
                await show.until_ready(settings.worker.metrics_port, stop)
                await _send(events(), connection, names["events"], options, show, stop)
                await _drain(connection, names["events"], settings.worker.app_id, show)
        return await audit(connection, names["events"], names["predictions"], names["rejected"])


@asynccontextmanager
async def _kafka(directory: Path, jars: Path, console: Console) -> AsyncIterator[str]:
    console.print("Starting Apache Kafka ...", highlight=False)
    broker = EmbeddedKafka(directory / "kafka", jars)
    starting = asyncio.ensure_future(asyncio.to_thread(broker.start))
    try:
        await asyncio.shield(starting)
        yield broker.bootstrap_servers
    finally:
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.to_thread(broker.stop)


@asynccontextmanager
async def _worker(
    environ: Mapping[str, str], log_path: Path, console: Console
) -> AsyncIterator[WorkerProcess]:
    console.print("Starting the worker ...", highlight=False)
    worker = WorkerProcess(environ, log_path)
    try:
        yield worker
    finally:
        await asyncio.to_thread(worker.stop)


async def _send(
    events: Iterator[FileEvent],
    connection: Connection,
    topic: str,
    options: DemoOptions,
    show: Show,
    stop: asyncio.Event,
) -> Produced:
    """Produce until the events, the time or the user's patience end."""
    loop = asyncio.get_running_loop()
    if options.seconds is not None:
        loop.call_later(options.seconds, stop.set)
    async with opened(producer_of(connection.client()), connection) as producer:
        sending = asyncio.ensure_future(
            produce(
                at_rate(events, options.rate, time.monotonic),
                producer,
                topic,
                progress=show.sent_so_far,
                stop=stop,
            )
        )
        try:
            return await show.during(sending)
        finally:
            sending.cancel()


async def _drain(connection: Connection, topic: str, group: str, show: Show) -> None:
    """Wait until the worker has committed everything that was sent."""
    async with reader(connection) as consumer:
        places = await partitions_of(consumer, topic)
        ends = {place: whole.end for place, whole in (await extents(consumer, places)).items()}
    deadline = time.monotonic() + DRAIN_SECONDS
    async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
        while True:
            show.check()
            committed = await admin.list_consumer_group_offsets(group, partitions=list(ends))
            left = sum(ends[place] - max(committed[place].offset, 0) for place in ends)
            if left == 0:
                return
            if time.monotonic() > deadline:
                raise NotDrained(
                    f"{left} of the events sent had no outcome {DRAIN_SECONDS:.0f} s after the "
                    "last one; a lower --rate gives the worker time."
                )
            await asyncio.sleep(0.1)
