"""Read a topic from its end: what somebody asks about is mostly young."""

from collections.abc import AsyncIterator, Callable, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.kafka.topic_reader import Extent, read_partition

FIRST_BLOCK, LARGEST_BLOCK = 512, 32_768
"""Offsets read at once: few for what is young, many where it must be far back."""


async def newest_first(
    consumer: AIOKafkaConsumer,
    held: Mapping[TopicPartition, Extent],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AsyncIterator[list[ConsumerRecord]]:
    """Committed records in blocks, each the newest that a partition has left, newest first in it;
    partitions take turns. An empty block says that nothing was committed there.
    """
    left = {partition: extent for partition, extent in held.items() if extent.begin < extent.end}
    total = sum(extent.end - extent.begin for extent in left.values())
    size, done = FIRST_BLOCK, 0
    while left:
        for partition, extent in list(left.items()):
            begin = max(extent.begin, extent.end - size)
            block: list[ConsumerRecord] = []
            async for chunk in read_partition(consumer, partition, Extent(begin, extent.end)):
                block += chunk
            done += extent.end - begin
            progress(done, total)
            yield block[::-1]
            if begin == extent.begin:
                del left[partition]
            else:
                left[partition] = Extent(extent.begin, begin)
        size = min(size * 4, LARGEST_BLOCK)
