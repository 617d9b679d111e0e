"""What the shell costs per event, beside a bare aiokafka loop that copies the same topic.

    python -m tests.bench.shell_cost BOOTSTRAP [--events N] [--batch N]

Makes its own topics, sends the events, then runs: aiokafka reading alone, reading and sending
record by record, reading and sending batch by batch, and the whole worker with a core that only
copies, in both deliveries. Prints a JSON object: microseconds of CPU per event, events per second.
"""

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream_app.core.batch import EventBatch, OutputBatch, Record
from stream_app.kafka.lane import Core, Mark
from tests.kafka.counting import CountingStore, config
from tests.kafka.ledger import Watching, make_topics, serving, until

PARTITIONS = 4
VALUE = b"x" * 200

Figures = dict[str, float]


def copy(batch: EventBatch, store: CountingStore, mark: Mark) -> OutputBatch:
    store.next_offset = batch.next_offset
    pairs = enumerate(zip(batch.keys, batch.values, strict=True))
    return OutputBatch(predictions=[Record(row, key, value or b"") for row, (key, value) in pairs])


async def fill(kafka: str, topic: str, events: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5, max_batch_size=1 << 18)
    await producer.start()
    for number in range(events):
        key = b"u%d" % (number % 2_000)
        await producer.send(topic, VALUE, key=key, partition=number % PARTITIONS)
    await producer.stop()


async def measured(events: int, work: Callable[[], Awaitable[None]]) -> Figures:
    cpu, wall = time.process_time(), time.perf_counter()
    await work()
    seconds = time.perf_counter() - wall
    return {
        "cpu_us_per_event": round((time.process_time() - cpu) / events * 1e6, 2),
        "events_per_second": round(events / seconds),
    }


async def bare(kafka: str, source: str, target: str, events: int, how: str, batch: int) -> Figures:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, group_id=None, isolation_level="read_committed",
        auto_offset_reset="earliest",
    )  # fmt: skip
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, enable_idempotence=True, max_batch_size=900_000
    )
    await consumer.start()
    await producer.start()
    consumer.assign([TopicPartition(source, partition) for partition in range(PARTITIONS)])

    async def loop() -> None:
        seen = 0
        while seen < events:
            found = await consumer.getmany(timeout_ms=500, max_records=batch)
            for tp, rows in found.items():
                seen += len(rows)
                if how == "record":
                    for row in rows:
                        await producer.send(target, row.value, key=row.key, partition=tp.partition)
                elif how == "batch":
                    built = producer.create_batch()
                    for row in rows:
                        built.append(timestamp=None, key=row.key, value=row.value)
                    await (await producer.send_batch(built, target, partition=tp.partition))
        await producer.flush()

    try:
        return await measured(events, loop)
    finally:
        await consumer.stop()
        await producer.stop()


async def worker(kafka: str, app_id: str, events: int, delivery: str, batch: int) -> Figures:
    shell = replace(
        config(kafka, app_id, max_batch_events=batch, delivery=delivery),
        app_id=f"{app_id}-{delivery}",
    )
    watching = Watching()
    async with serving(shell, Core(store=CountingStore, play=copy), watching):

        async def work() -> None:
            await until(lambda: watching.events >= events, 600)

        return await measured(events, work)


async def main(arguments: list[str]) -> dict[str, Figures]:
    parser = argparse.ArgumentParser()
    parser.add_argument("kafka")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=512)
    given = parser.parse_args(arguments)
    app_id = f"bench-{uuid.uuid4().hex[:8]}"
    await make_topics(given.kafka, app_id, PARTITIONS)
    source, target = f"{app_id}.in", f"{app_id}.predictions"
    await fill(given.kafka, source, given.events)
    figures = {}
    for how in ("read", "record", "batch"):
        figures[f"bare aiokafka, {how}"] = await bare(
            given.kafka, source, target, given.events, how, given.batch
        )
    for delivery in ("exactly_once", "at_least_once"):
        figures[f"worker, {delivery}"] = await worker(
            given.kafka, app_id, given.events, delivery, given.batch
        )
    return figures


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1:])), indent=2) + "\n")
