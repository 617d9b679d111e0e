"""What the shell costs per event, beside a bare aiokafka loop that copies the same topic.

    python -m tests.bench.shell_cost BOOTSTRAP [--events N] [--batch N] [--rounds N] [--core-us N]

Makes its own topics, sends the events, then runs: aiokafka reading alone, reading and sending
record by record, reading and sending batch by batch, and the whole worker with a core that only
copies (and takes ``--core-us`` microseconds per event), in both deliveries, which alternate for
``--rounds`` rounds. The last line is a JSON object: microseconds of CPU per event and events per
second, of the deliveries the medians, and the share of at-least-once that exactly-once reaches
(the median over the rounds, for a loaded machine slows the two halves of a round alike).
"""

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from statistics import median

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream_app.core.batch import EventBatch, OutputBatch, Record
from stream_app.kafka.contract import Core, Mark
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


def taking(core_us: float) -> Core:
    """A core that copies, and computes for so long per event."""

    def play(batch: EventBatch, store: CountingStore, mark: Mark) -> OutputBatch:
        until_ns = time.thread_time_ns() + int(core_us * 1000 * len(batch.offsets))
        outputs = copy(batch, store, mark)
        while time.thread_time_ns() < until_ns:
            pass
        return outputs

    return Core(store=CountingStore, play=play)


async def worker(
    kafka: str, app_id: str, group: str, events: int, delivery: str, batch: int, core: Core
) -> Figures:
    shell = replace(config(kafka, app_id, max_batch_events=batch, delivery=delivery), app_id=group)
    watching = Watching()
    async with serving(shell, core, watching):

        async def work() -> None:
            await until(lambda: watching.events >= events, 600)

        return await measured(events, work)


async def deliveries(
    kafka: str, app_id: str, events: int, batch: int, rounds: int, core_us: float
) -> dict[str, Figures]:
    """The worker in both deliveries, in turn."""
    found: dict[str, list[Figures]] = {"exactly_once": [], "at_least_once": []}
    for number in range(rounds):
        for delivery in sorted(found, reverse=bool(number % 2)):
            group = f"{app_id}-{delivery}-{number}"
            found[delivery].append(
                await worker(kafka, app_id, group, events, delivery, batch, taking(core_us))
            )
    shares = {
        name: [a[name] / b[name] for a, b in zip(*found.values(), strict=True)]
        for name in ("events_per_second", "cpu_us_per_event")
    }
    figures = {
        f"worker, {delivery}": {name: median(one[name] for one in runs) for name in runs[0]}
        for delivery, runs in found.items()
    }
    return {
        **figures,
        "exactly_once of at_least_once": {
            name: round(median(values), 3) for name, values in shares.items()
        },
    }


async def main(arguments: list[str]) -> dict[str, Figures]:
    parser = argparse.ArgumentParser()
    parser.add_argument("kafka")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=2_048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core-us", type=float, default=0.0)
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
    return figures | await deliveries(
        given.kafka, app_id, given.events, given.batch, given.rounds, given.core_us
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1:]))) + "\n")
