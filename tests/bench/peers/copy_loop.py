"""The ceiling of aiokafka: what arrived of a partition is copied as one batch of records."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.bench.peers.arguments import Arguments, parse

MAX_RECORDS = 2_048


async def serve(given: Arguments) -> None:
    consumer = AIOKafkaConsumer(
        given.source,
        bootstrap_servers=given.kafka,
        group_id=given.group,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=given.kafka, enable_idempotence=True, max_batch_size=900_000
    )
    await consumer.start()
    await producer.start()
    while True:
        found = await consumer.getmany(timeout_ms=200, max_records=MAX_RECORDS)
        for partition, records in found.items():
            batch = producer.create_batch()
            for record in records:
                batch.append(timestamp=None, key=record.key, value=record.value)
            await producer.send_batch(batch, given.target, partition=partition.partition)


if __name__ == "__main__":
    asyncio.run(serve(parse(sys.argv[1:])))
