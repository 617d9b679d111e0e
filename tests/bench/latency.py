"""How long a click takes to its prediction: at a trickle, at half of the peak, and after a burst.

A click's time is that of the schedule, so that a sender or worker who pauses is not excused. Beside
it, on the same schedule and through the same producer and consumer, a raw round trip through one
topic.
"""

import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from aiokafka import AIOKafkaProducer

from stream_app.partitioning import partition_of
from tests.bench import machine, own_kafka
from tests.bench.committed import committed
from tests.bench.cores import Pin
from tests.bench.course import Click, Course
from tests.bench.entrants import worker_command, worker_environ
from tests.bench.figures import Figure, ratios
from tests.bench.race import Place, event_id, make_topics, running, until_it_says

TRICKLE = 200.0  # clicks a second
SECONDS, WARM_SECONDS = 4.0, 1.0
TICK_SECONDS = 0.005
BURST_SECONDS, AFTER_SECONDS, BURST = 5.0, 5.0, 10.0
TARGET_SECONDS = 0.25
"""The objective of the latency alerts."""

DRAIN_SECONDS = 120.0
WAYS = ("raw", "at_least_once", "exactly_once")


class Leg(NamedTuple):
    """So many clicks a second for so long."""

    rate: float
    seconds: float


class Taken(NamedTuple):
    """When a click was due and when its prediction was there, in seconds from the start."""

    due: float
    done: float


async def timed(
    place: Place, clicks: Iterator[Click], legs: Sequence[Leg], role: str
) -> list[Taken]:
    """Send the next clicks as the legs say and read what comes of them in the topic of ``role``."""
    due: dict[str, float] = {}
    found: list[Taken] = []
    whole = sum(leg.seconds for leg in legs)
    reading = committed(place.kafka, place.topic(role), place.partitions)
    async with reading as reader, asyncio.timeout(whole + DRAIN_SECONDS):
        started = time.perf_counter()
        sending = asyncio.create_task(_send(place, clicks, legs, due, started))
        while not sending.done() or len(found) < len(due):
            if sending.done():
                sending.result()
            chunks = await reader.getmany(timeout_ms=100)
            now = time.perf_counter() - started
            for rows in chunks.values():
                found += [Taken(due[event_id(row.value)], now) for row in rows]
        await sending
    return found


async def _send(
    place: Place,
    clicks: Iterator[Click],
    legs: Sequence[Leg],
    due: dict[str, float],
    started: float,
) -> None:
    """Each tick's clicks as one batch a partition; notes in ``due`` when each was due."""
    producer = AIOKafkaProducer(bootstrap_servers=place.kafka, max_batch_size=900_000)
    await producer.start()
    sending: set[asyncio.Future[Any]] = set()
    begun = 0.0
    for leg in legs:
        # No tick more than there are seconds: the clicks may be counted to the last one.
        sent, ticks = 0, int(leg.seconds / TICK_SECONDS + 1e-6)
        for tick in range(1, ticks + 1):
            at = begun + tick * TICK_SECONDS
            await asyncio.sleep(max(0.0, started + at - time.perf_counter()))
            batches: dict[int, Any] = {}
            while sent < int(tick * TICK_SECONDS * leg.rate):
                sent += 1
                key, value = next(clicks)
                due[event_id(value)] = begun + sent / leg.rate
                partition = partition_of(key, place.partitions)
                batch = batches.setdefault(partition, producer.create_batch())
                batch.append(timestamp=None, key=key, value=value)
            for partition, batch in batches.items():
                sending.add(
                    await producer.send_batch(batch, place.topic("events"), partition=partition)
                )
        begun += leg.seconds
    await asyncio.gather(*sending)
    await producer.stop()


def percentiles_ms(taken: Iterable[Taken], from_seconds: float = WARM_SECONDS) -> dict[str, float]:
    """p50 and p99 of what was due after the warm-up."""
    late = [one.done - one.due for one in taken if one.due >= from_seconds]
    p50, p99 = np.percentile(late, (50, 99)) * 1_000
    return {"p50": float(p50), "p99": float(p99)}


def seconds_to_recover(taken: Iterable[Taken], ended: float) -> float:
    """From a burst's end until nobody waits longer than the target any more."""
    late = [one.done for one in taken if one.done - one.due > TARGET_SECONDS]
    return max(0.0, max(late, default=0.0) - ended)


@asynccontextmanager
async def _serving(kafka: str, course: Course, way: str, pin: Pin) -> AsyncIterator[Place]:
    """A worker that is ready; for the raw way none."""
    with tempfile.TemporaryDirectory(prefix="clickahead-bench-") as scratch:
        place = Place(kafka, f"bench-{uuid.uuid4().hex[:8]}", Path(scratch))
        await make_topics(place)
        if way == "raw":
            yield place
            return
        environ = worker_environ(place, course, way)
        with running(worker_command(place, course), environ, place) as child:
            pin(child.pid)
            await until_it_says("Ready:", child, place)
            yield place


async def steady(
    kafka: str, course: Course, way: str, pin: Pin, rates: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Percentiles by the name of the rate, one after the other."""
    role, clicks, found = "events" if way == "raw" else "predictions", iter(course.clicks), {}
    async with _serving(kafka, course, way, pin) as place:
        for name, rate in rates.items():
            legs = [Leg(rate, WARM_SECONDS + SECONDS)]
            found[name] = percentiles_ms(await timed(place, clicks, legs, role))
    return found


async def warmed(kafka: str, course: Course, pin: Pin, rate: float) -> None:
    """A worker's transactions, uncounted."""
    seconds = min(own_kafka.WARM_SECONDS, len(course.clicks) / rate)
    async with _serving(kafka, course, "exactly_once", pin) as place:
        await timed(place, iter(course.clicks), [Leg(rate, seconds)], "predictions")


async def burst(kafka: str, course: Course, way: str, pin: Pin, peak: float) -> float:
    """Seconds to recover from ten times the rate before, which is about the peak."""
    usual = peak / BURST
    legs = [Leg(usual, WARM_SECONDS + 1), Leg(peak, BURST_SECONDS), Leg(usual, AFTER_SECONDS)]
    async with _serving(kafka, course, way, pin) as place:
        taken = await timed(place, iter(course.clicks), legs, "predictions")
    return seconds_to_recover(taken, legs[0].seconds + legs[1].seconds)


class Asked(NamedTuple):
    """Clicks a second of a round, by what the machine could do in those minutes."""

    peak: float
    rates: Mapping[str, float]
    burst: float

    @classmethod
    def of(cls, peak: float, clicks: int) -> "Asked":
        """As many as there are clicks for are asked at most."""
        half = min(peak / 2, clicks / (SECONDS + WARM_SECONDS) - TRICKLE)
        burst = min(peak, clicks / (BURST_SECONDS + AFTER_SECONDS))
        return cls(peak, {"200": TRICKLE, "half": half}, burst)


def latency_figures(
    kafka: str,
    course: Course,
    peak: Callable[[], float],
    rounds: int,
    pin: Pin,
    tell: Callable[[str], None],
) -> Iterator[Figure]:
    """``peak`` measures clicks a second, in every round anew: a machine's speed changes, and half
    of what it could do some minutes ago may be all that it can do now."""
    asked: list[Asked] = []
    rounds_of: dict[tuple[str, str, str], list[float]] = {}
    recovered: dict[str, list[float]] = {way: [] for way in WAYS[1:]}
    for number in range(rounds):
        tell(f"latency, round {number + 1} of {rounds}: the peak")
        now = Asked.of(peak(), len(course.clicks))
        asked.append(now)
        if number == 0:
            tell("latency, the broker warms up")
            asyncio.run(warmed(kafka, course, pin, now.rates["half"]))
        for way in sorted(WAYS, reverse=bool(number % 2)):
            tell(f"latency, round {number + 1} of {rounds}: {way}")
            with machine.uncollected():
                measured = asyncio.run(steady(kafka, course, way, pin, now.rates))
                if way != "raw":
                    recovered[way].append(asyncio.run(burst(kafka, course, way, pin, now.burst)))
            for name, found in measured.items():
                for quantile, ms in found.items():
                    rounds_of.setdefault((way, name, quantile), []).append(ms)
    yield from _figures(asked, rounds_of, recovered)


def _figures(
    asked: Sequence[Asked],
    rounds_of: Mapping[tuple[str, str, str], list[float]],
    recovered: Mapping[str, list[float]],
) -> Iterator[Figure]:
    """``rounds_of`` has milliseconds by way, rate and quantile."""
    what = "clicks a second of a worker with a core of its own, behind a backlog"
    yield Figure("peak_apart", what, [one.peak for one in asked])
    names = {"200": f"{TRICKLE:.0f}/s", "half": "half of that"}
    worst: list[Figure] = []
    for way, suffix in zip(WAYS[1:], ("", "_exactly_once"), strict=True):
        for name, rate in names.items():
            over = ratios(
                f"p99_ratio_{name}{suffix}",
                f"p99 at {rate} over a raw round trip's, {way}",
                rounds_of[way, name, "p99"],
                rounds_of["raw", name, "p99"],
            )
            yield over
            worst += [] if suffix else [over]
        what = f"seconds from the end of a 10x burst, to about the peak, to p99 in target, {way}"
        yield Figure(f"burst_seconds{suffix}", what, recovered[way])
    worse = max(worst, key=lambda figure: figure.value)
    yield worse._replace(key="p99_ratio")
    for (way, name, quantile), values in rounds_of.items():
        yield Figure(
            f"{quantile}_ms_{name}_{way}", f"{quantile} at {names[name]} in ms, {way}", values
        )
