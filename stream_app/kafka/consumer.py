"""Faust's consumer, chunk by chunk.

One message per partition and poll instead of one per record; no offset commits of Faust's own, for
a micro-batch is committed by whoever delivers it; no position that recovery has not set.
"""

import logging
from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import ConsumerStoppedError, KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest
from faust.transport.consumer import Fetcher
from faust.transport.drivers.aiokafka import Consumer, Producer, Transport
from faust.types import TP, ConsumerMessage
from mode import Service

from stream_app.kafka.consumer_thread import ConsumerThread
from stream_app.kafka.inbox import Chunk
from stream_app.kafka.topic_admin import DOWN, answered

if TYPE_CHECKING:
    from stream_app.kafka.application import Application

log = logging.getLogger(__name__)

HOLD_POLL_SECONDS = 0.01
"""With a partition on hold, polls are short, so that it is read again as soon as it is wanted."""


class ChunkConsumer(Consumer):
    """Consumer of a `ChunkTransport`."""

    app: "Application"
    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, self.app.shell, loop=self.loop, beacon=self.beacon)

    @property
    def thread(self) -> ConsumerThread:
        return self._thread

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109
        """What has arrived of every active source partition, a message each."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        source = self.app.shell.source
        active = frozenset(tp for tp in self._get_active_partitions() if tp.topic == source)
        held = bool(self._buffered_partitions)
        chunks = await self._thread.read(
            active, HOLD_POLL_SECONDS if held else timeout, 2 * self.app.shell.max_batch_events
        )
        for chunk in chunks:
            if not self.flow_active:
                # The partitions go; whoever gets them starts from a position of its own.
                return
            tp = TP(chunk.topic, chunk.partition)
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            yield tp, self._message(tp, chunk)

    def _message(self, tp: TP, chunk: Chunk) -> ConsumerMessage:
        last = chunk.rows[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            [],
            None,
            chunk,  # type: ignore[arg-type]
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _drain_messages(self, fetcher: Any) -> None:
        """Faust's loop spends four tasks per message on being interruptible; this one awaits."""
        while not (self.should_stop or fetcher.should_stop):
            try:
                async for _, message in self.getmany(timeout=1.0):
                    await self.callback(message)
            except ConsumerStoppedError:
                if not self.app.should_stop:
                    raise

    async def _commit(self, offsets: Any) -> bool:
        """Offsets are committed with what they caused, see `delivery`."""
        return True

    async def perform_seek(self) -> None:
        """Positions are set by recovery, from the state and not from committed offsets."""

    def release_all(self) -> None:
        """Nothing is on hold in a new assignment; Faust would remember it from the last."""
        self._buffered_partitions.clear()

    async def wait_empty(self) -> None:
        """Everything that was taken is delivered."""
        await self.app.lanes.drain()

    async def verify_all_partitions_active(self) -> None:
        """Faust's check reads acknowledgements, of which there are none; see `Lanes.watch`."""

    async def on_stop(self) -> None:
        await self.app.lanes.close()
        await super().on_stop()

    async def seek(self, partition: TP, offset: int) -> None:
        await self._thread.set_positions({partition: offset})

    def position_of(self, tp: TP) -> int | None:
        """Up to where a partition has been read."""
        return self._thread.position_of(tp)

    async def log_bounds(self, tps: Collection[TP]) -> dict[TP, tuple[int, int]]:
        return await self._thread.log_bounds(tps)


class ChunkFetcher(Fetcher):
    """Faust's own takes its end during a rebalance for a crash."""

    @Service.task
    async def _fetcher(self) -> None:
        try:
            await self.app.consumer._drain_messages(self)  # type: ignore[attr-defined]
        finally:
            self.set_shutdown()


class ShellProducer(Producer):
    """Faust's producer declares the changelog topic, and that is all that it does."""

    app: "Application"

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        shell = self.app.shell
        return AIOKafkaProducer(**shell.client, client_id=f"{shell.app_id}-declare")


class ChunkTransport(Transport):
    """Faust's Kafka transport with `ChunkConsumer`."""

    Consumer = ChunkConsumer
    Fetcher = ChunkFetcher
    Producer = ShellProducer

    async def _create_topic(self, *arguments: Any, **options: Any) -> None:
        """Faust ends the worker where the broker that it asks is down."""
        create = super()._create_topic
        await answered(lambda: create(*arguments, **options))

    async def _get_controller_node(
        self,
        owner: Service,
        client: AIOKafkaClient,
        timeout: int = 30_000,  # noqa: ASYNC109 (Faust's signature)
    ) -> int:
        """Faust asks one broker, the first that it has heard of; any that is up will do."""
        failure: Exception = KafkaConnectionError("no broker is known")
        if not client.cluster.brokers():
            # A broker that has just come back names none, itself neither.
            await client.force_metadata_update()
        for broker in client.cluster.brokers():
            try:
                response = await client.send(broker.nodeId, MetadataRequest([]))
            except DOWN as error:
                failure = error
            else:
                return int(response.controller_id)
        raise failure
