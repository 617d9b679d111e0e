"""What a read_committed consumer sees of a topic."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition


@asynccontextmanager
async def committed(kafka: str, topic: str, partitions: int) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader of what is committed from now on."""
    reader = AIOKafkaConsumer(
        bootstrap_servers=kafka, group_id=None, isolation_level="read_committed",
        auto_offset_reset="earliest",
        # A partition whose records wait here is not in the fetch that is on its way.
        fetch_max_wait_ms=5,
    )  # fmt: skip
    await reader.start()
    tps = [TopicPartition(topic, number) for number in range(partitions)]
    reader.assign(tps)
    await reader.seek_to_end(*tps)
    try:
        yield reader
    finally:
        await reader.stop()
