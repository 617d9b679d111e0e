"""How long a record takes through the shell, in both deliveries: from its time to be sent until a
read_committed consumer holds what came of it.

    python -m tests.bench.shell_latency [BOOTSTRAP] [--rounds N] [--seconds S] [--core-us N]

Without BOOTSTRAP it starts a Kafka of its own. The worker has a core to itself, see
`tests.bench.cores`; a Kafka of its own shares the others with who sends and reads.

The worker is a process of its own whose core copies and takes ``--core-us`` microseconds of CPU per
event. First its peak in exactly_once is measured, on records that wait for it, and the broker is
warmed up at half of it, since Java compiles what it runs often. Then the deliveries take turns for
``--rounds`` rounds, each on new topics, at 200 records/s and at half the peak. A record's time is
that of the schedule, so that a sender or worker who pauses is not excused; only this process, which
sends and reads, collects no garbage meanwhile.

The last line is a JSON object: the peak in events per second, and by rate and delivery p50 and p99
in milliseconds, the medians of the rounds; ``p99_above_ms`` is exactly_once's p99 less that of
at_least_once of the same round, and of these the median.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from itertools import count
from statistics import median
from subprocess import PIPE, Popen
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer

from stream_app.app import create_application
from stream_app.kafka.application import Application
from stream_app.worker import run
from tests.bench import machine, own_kafka
from tests.bench.committed import committed
from tests.bench.cores import Pin, worker_apart
from tests.bench.shell_cost import PARTITIONS, fill, taking
from tests.kafka.counting import Printed, config
from tests.kafka.ledger import ROOT, make_topics

CLICK_BYTES = 200
TICK_SECONDS = 0.005
SLOW_PER_SECOND = 200
PEAK_EVENTS = 30_000
WARM_SECONDS = 1.0
"""Sent first, and not counted."""

Latencies = dict[str, float]


@contextmanager
def worker(kafka: str, app_id: str, delivery: str, core_us: float, pin: Pin) -> Iterator[None]:
    """A worker process, from ready to stopped."""
    mine = [sys.executable, "-m", "tests.bench.shell_latency"]
    process = Popen(  # noqa: S603
        [*mine, kafka, "--serve", app_id, "--delivery", delivery, "--core-us", str(core_us)],
        cwd=ROOT, stdout=PIPE, text=True,
    )  # fmt: skip
    pin(process.pid)
    assert process.stdout is not None
    try:
        while not process.stdout.readline().startswith("ready "):
            assert process.poll() is None, "the worker ended"
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def serve(kafka: str, app_id: str, delivery: str, core_us: float) -> int:
    """The worker of `worker`."""
    logging.basicConfig(level=logging.CRITICAL)
    shell = config(kafka, app_id, PARTITIONS, delivery=delivery)

    @asynccontextmanager
    async def prepared() -> AsyncIterator[Application]:
        yield create_application(shell, taking(core_us), Printed())

    return run(prepared)


async def peak(kafka: str, core_us: float, pin: Pin) -> float:
    """Events per second of a worker whose input waits for it."""
    app_id = f"peak-{uuid.uuid4().hex[:8]}"
    await make_topics(kafka, app_id, PARTITIONS)
    await fill(kafka, f"{app_id}.in", PEAK_EVENTS)
    async with committed(kafka, f"{app_id}.predictions", PARTITIONS) as reader:
        seen = 0
        with worker(kafka, app_id, "exactly_once", core_us, pin):
            ready = time.perf_counter()
            while seen < PEAK_EVENTS:
                seen += sum(map(len, (await reader.getmany(timeout_ms=100)).values()))
            return seen / (time.perf_counter() - ready)


async def send(kafka: str, app_id: str, rate: float, seconds: float) -> None:
    """Records on schedule, each with its time; one batch per tick, to the partitions in turn."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_batch_size=900_000)
    await producer.start()
    started, sent, sending = time.perf_counter(), 0, set[asyncio.Future[Any]]()
    for tick in count(1):
        due = int(min(tick * TICK_SECONDS, seconds) * rate)
        await asyncio.sleep(max(0.0, started + tick * TICK_SECONDS - time.perf_counter()))
        if sent < due:
            batch = producer.create_batch()
            for number in range(sent, due):
                at = (started + (number + 1) / rate).hex().encode()
                batch.append(timestamp=None, key=b"k", value=at.ljust(CLICK_BYTES))
            sending.add(await producer.send_batch(batch, f"{app_id}.in", partition=tick % 4))
            sent = due
        if tick * TICK_SECONDS >= seconds:
            break
    await asyncio.gather(*sending)
    await producer.stop()


async def latencies(kafka: str, app_id: str, rate: float, seconds: float) -> Latencies:
    wanted, found = int(rate * seconds), list[float]()
    reading = committed(kafka, f"{app_id}.predictions", PARTITIONS)
    async with reading as reader, asyncio.timeout(seconds + 60):
        sending = asyncio.create_task(send(kafka, app_id, rate, seconds))
        while len(found) < wanted:
            chunks = await reader.getmany(timeout_ms=100)
            now = time.perf_counter()
            found += [now - float.fromhex(r.value.decode()) for c in chunks.values() for r in c]
        await sending
    p50, p99 = np.percentile(found[int(WARM_SECONDS * rate) :], (50, 99)) * 1000
    return {"p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1)}


async def one(
    kafka: str, delivery: str, rates: list[float], seconds: float, core_us: float, pin: Pin
) -> list[Latencies]:
    """A worker's latencies at these rates, on new topics."""
    app_id = f"latency-{uuid.uuid4().hex[:8]}"
    await make_topics(kafka, app_id, PARTITIONS)
    with worker(kafka, app_id, delivery, core_us, pin):
        return [await latencies(kafka, app_id, rate, seconds + WARM_SECONDS) for rate in rates]


async def compared(
    kafka: str, rates: list[float], rounds: int, seconds: float, core_us: float, pin: Pin
) -> dict[str, Any]:
    """Latencies by rate, the deliveries in turn."""
    found: dict[tuple[float, str], list[Latencies]] = {}
    for number in range(rounds):
        for delivery in sorted(("exactly_once", "at_least_once"), reverse=bool(number % 2)):
            measured = await one(kafka, delivery, rates, seconds, core_us, pin)
            for rate, latency in zip(rates, measured, strict=True):
                found.setdefault((rate, delivery), []).append(latency)
                sys.stderr.write(f"{rate:.0f}/s {delivery} {latency}\n")
    return {f"{rate:.0f}_per_second": difference(found, rate) for rate in rates}


def difference(found: dict[tuple[float, str], list[Latencies]], rate: float) -> dict[str, Any]:
    exactly, at_least = found[rate, "exactly_once"], found[rate, "at_least_once"]
    medians = {
        name: {key: round(median(one[key] for one in runs), 1) for key in runs[0]}
        for name, runs in (("exactly_once", exactly), ("at_least_once", at_least))
    }
    above = [a["p99_ms"] - b["p99_ms"] for a, b in zip(exactly, at_least, strict=True)]
    return {**medians, "p99_above_ms": round(median(above), 1)}


async def measured(kafka: str, given: argparse.Namespace, pin: Pin) -> dict[str, Any]:
    core_us = given.core_us
    peak_rate = await peak(kafka, core_us, pin)
    sys.stderr.write(f"peak {peak_rate:.0f}/s\n")
    rates = [float(SLOW_PER_SECOND), given.rate or peak_rate / 2]
    with machine.uncollected():
        await one(kafka, "exactly_once", rates[1:], own_kafka.WARM_SECONDS, core_us, pin)
        found = await compared(kafka, rates, given.rounds, given.seconds, core_us, pin)
    return {"cores": os.cpu_count(), "peak_per_second": round(peak_rate), **found}


def main(given: argparse.Namespace) -> dict[str, Any]:
    found = nullcontext(given.kafka) if given.kafka else own_kafka.kafka_of_its_own()
    with found as kafka, worker_apart() as pin:
        return asyncio.run(measured(kafka, given, pin))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("kafka", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--core-us", type=float, default=100.0)
    parser.add_argument("--rate", type=float, help="instead of half the peak")
    parser.add_argument("--serve", metavar="APP_ID", help=argparse.SUPPRESS)
    parser.add_argument("--delivery", default="exactly_once", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    if given.serve:
        sys.exit(serve(given.kafka, given.serve, given.delivery, given.core_us))
    sys.stdout.write(json.dumps(main(given)) + "\n")
