"""The Faust app class with everything of `stream_app.kafka` in its places."""

import asyncio
from typing import Any

import faust
from faust.agents import Agent
from faust.serializers.schemas import Schema
from faust.types import Message
from mode.supervisors import CrashingSupervisor
from yarl import URL

from stream_app.kafka.consumer import ChunkConsumer, ChunkTransport
from stream_app.kafka.contract import Core
from stream_app.kafka.delivery import AtLeastOnce, Delivery, ExactlyOnce
from stream_app.kafka.delivery_thread import DeliveryThread
from stream_app.kafka.group_offsets import GroupOffsets
from stream_app.kafka.lanes import Lanes
from stream_app.kafka.observer import Observer
from stream_app.kafka.recovery import BulkTableManager
from stream_app.kafka.shell_config import ShellConfig
from stream_app.kafka.snapshots import Snapshots
from stream_app.kafka.store import BatchTable, Partitions


class AsItIs(Schema):  # type: ignore[type-arg]
    """Chunks pass undecoded; bad bytes are the core's business and no exception."""

    def loads_key(self, app: Any, message: Message, **_: Any) -> None:
        return None

    def loads_value(self, app: Any, message: Message, **_: Any) -> Any:
        return message.value


class Application(faust.App):
    """A Faust app that works in micro-batches."""

    consumer: ChunkConsumer

    def __init__(self, shell: ShellConfig, core: Core, observer: Observer) -> None:
        self.shell = shell
        self.observer = observer
        self.partitions = Partitions(core.store)
        self.snapshots = Snapshots(shell, core.identity, observer)
        self.lanes = Lanes(
            shell,
            core,
            self.partitions,
            self._delivery(),
            GroupOffsets(lambda offsets: self.consumer.thread.commit_offsets(offsets)),
            self.snapshots,
            observer,
            self.fail,
        )
        self._failing: asyncio.Task[None] | None = None
        super().__init__(
            shell.app_id,
            broker=[URL(f"kafka://{server}") for server in _servers(shell)],
            # A member's name in the assignment. A static member keeps it wherever it starts; the
            # default names the host.
            canonical_url=f"http://{shell.instance_id}" if shell.instance_id else None,
            autodiscover=False,
            web_enabled=False,
            web_bind="127.0.0.1",
            topic_disable_leader=True,
            topic_partitions=shell.partitions,
            topic_replication_factor=shell.replication_factor,
            table_standby_replicas=0,
            stream_wait_empty=True,
            # An exception in the agent is a defect; Faust would go on behind the lost message.
            agent_supervisor=CrashingSupervisor,
            Agent=Agent,
            Table=BatchTable,
            TableManager=BulkTableManager,
        )
        self.transport = ChunkTransport(self.conf.broker_consumer, self)
        self.producer_transport = ChunkTransport(self.conf.broker_producer, self)

    def _delivery(self) -> Delivery:
        kind = ExactlyOnce if self.shell.delivery == "exactly_once" else AtLeastOnce
        return DeliveryThread(kind(self.shell))

    def fail(self, reason: BaseException) -> None:
        """End the worker. Nothing is acknowledged past what failed."""
        if self._failing is None:
            self._failing = asyncio.ensure_future(self.crash(reason))

    async def stop(self) -> None:
        """End, and leave files from which the next start begins."""
        await super().stop()
        await self.snapshots.leave(self.partitions)

    def _create_directories(self) -> None:
        """The state is in Kafka; Faust's data folder would stay empty."""


def _servers(shell: ShellConfig) -> list[str]:
    servers = shell.client["bootstrap_servers"]
    return servers.split(",") if isinstance(servers, str) else list(servers)
