"""How the cost of an event grows with users, history, items, workers and partitions.

    python -m tests.bench.scale [--rounds N] [--most N] [--only AXIS ...] [--out FILE]

Along each axis all else stays as it is by default: 1,000 users, ten events each, 17,000 items, one
worker, four partitions. Users, history and items are those of the core with the changelog's
records, in this process; workers and partitions are whole workers on a Kafka of their own, in CPU
time over all of them, since cores are few. Items have seeded vectors that lie near few directions,
as trained ones do, 64 numbers each, so that a million fit one graph. The slope is that of the
logarithms, by least squares: 0 costs the same however much there is, 1 twice as much for twice as
much. Behind the axes a table plans capacity from the same figures.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from statistics import median
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer
from rich import box
from rich.console import Console
from rich.table import Table

from model.checkpoint import save, write_atomically
from model.engine import OnnxEngine, open_engine
from model.export import export
from tests.bench import machine
from tests.bench.course import FEW_ITEMS, Course, course_folder, prepare
from tests.bench.entrants import worker_command, worker_environ
from tests.bench.figures import short
from tests.bench.own_kafka import kafka_of_its_own
from tests.bench.plan import USERS, Costs, need, plan
from tests.bench.race import (
    Place,
    cpu_seconds,
    make_topics,
    produce,
    read_events,
    running,
    until_it_says,
)
from tests.bench.report import wide_console
from tests.bench.users_figures import BATCH, FEW_EVENTS, FEW_USERS, cpu_us_per_event, crowd
from tests.tiny_model import random_weights, tiny_spec

OUT = Path("build/bench-scale.json")
AXES: Mapping[str, Sequence[int]] = {
    "users": (1_000, 10_000, 100_000, 1_000_000),
    "history": (10, 100, 1_000, 10_000, 100_000),
    "items": (1_000, 10_000, 100_000, 1_000_000),
    "workers": (1, 2, 4, 8),
    "partitions": (1, 4, 16, 64),
}
WIDTH, DIRECTIONS = 64, 12
EVENTS, WARM_UP, PLAN_EVENTS = 20_000, 400, 4_000


def engine_of(folder: Path, items: int) -> OnnxEngine:
    """A model whose item vectors lie near a few directions."""
    spec = tiny_spec(name="scale", item_count=items, hidden_width=WIDTH)
    weights = random_weights(spec)
    rng = np.random.default_rng(items)
    places = rng.standard_normal((spec.input_count, DIRECTIONS), np.float32)  # [V, D]
    directions = rng.standard_normal((DIRECTIONS, WIDTH), np.float32)  # [D, H]
    weights["item_embedding"] = places @ directions + 0.8 * weights["item_embedding"]
    save(folder, spec, [f"i{code}" for code in range(items)], weights)
    export(folder)
    return open_engine(folder)


def core_axis(name: str, value: int, rounds: int) -> list[float]:
    """CPU us per event in the core."""
    if name == "items":
        with tempfile.TemporaryDirectory(prefix="clickahead-bench-") as folder:
            engine = engine_of(Path(folder), value)
            of = crowd(engine, FEW_USERS, FEW_EVENTS)
    else:
        engine = open_engine(course_folder() / f"model-{FEW_ITEMS}")
        users, events = {"users": (value, FEW_EVENTS), "history": (FEW_USERS, value)}[name]
        of = crowd(engine, users, events)
    cpu_us_per_event(of, engine, BATCH)
    return [cpu_us_per_event(of, engine, BATCH) for _ in range(rounds)]


async def worker_axis(
    kafka: str, course: Course, folder: Path, workers: int, partitions: int, share: float
) -> float:
    """CPU us per event over all workers of a group."""
    name, events = f"scale-{uuid.uuid4().hex[:8]}", int(EVENTS * share)
    places = [Place(kafka, name, folder / f"{name}-{n}", partitions) for n in range(workers)]
    await make_topics(places[0])
    reader = AIOKafkaConsumer(
        places[0].topic("predictions"), bootstrap_servers=kafka, auto_offset_reset="earliest",
        isolation_level="read_committed",
    )  # fmt: skip
    await reader.start()
    with ExitStack() as stack:
        children = []
        for place in places:
            place.scratch.mkdir()
            environ = worker_environ(place, course, "at_least_once")
            children.append(
                stack.enter_context(running(worker_command(place, course), environ, place))
            )
        for place, child in zip(places, children, strict=True):
            await until_it_says("Ready:", child, place)
        await produce(places[0], course.clicks[:WARM_UP])
        await read_events(reader, children[0], WARM_UP, places[0])
        for child in children:
            child.send_signal(SIGSTOP)
        await produce(places[0], course.clicks[WARM_UP : WARM_UP + events])
        before = sum(cpu_seconds(child.pid) for child in children)
        for child in children:
            child.send_signal(SIGCONT)
        await read_events(reader, children[0], events, places[0])
        spent = sum(cpu_seconds(child.pid) for child in children) - before
    await reader.stop()
    return spent / events * 1e6


def slope_of(costs: Mapping[int, float]) -> float:
    """Of the logarithms of cost and size."""
    return float(np.polyfit(np.log([*costs]), np.log([*costs.values()]), 1)[0])


def measure(
    axes: Sequence[str], most: int, rounds: int, share: float, tell: Callable[[str], None]
) -> dict[str, dict[int, list[float]]]:
    """CPU us per event of each round, by axis and size."""
    found: dict[str, dict[int, list[float]]] = {name: {} for name in axes}
    for name in axes:
        if name in ("workers", "partitions"):
            continue
        for value in AXES[name]:
            if value <= most:
                tell(f"{name}: {value:,}")
                found[name][value] = core_axis(name, value, rounds)
    groups = [name for name in axes if name in ("workers", "partitions")]
    if not groups:
        return found
    course = prepare(course_folder(), FEW_ITEMS, tell)
    with kafka_of_its_own() as kafka, tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for name in groups:
                for value in AXES[name]:
                    if value <= most:
                        tell(f"{name}: {value}, round {number + 1}")
                        workers, partitions = (value, 8) if name == "workers" else (1, value)
                        cost = worker_axis(kafka, course, Path(folder), workers, partitions, share)
                        found[name].setdefault(value, []).append(asyncio.run(cost))
    return found


def shown(found: Mapping[str, Mapping[int, list[float]]]) -> Table:
    table = Table(title="CPU us per event", box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("axis", "sizes and us", "slope"):
        table.add_column(name, overflow="fold")
    for name, costs in found.items():
        points = {value: median(rounds) for value, rounds in costs.items()}
        said = "  ".join(f"{value:,}: {short(cost):g}" for value, cost in points.items())
        table.add_row(name, said, f"{slope_of(points):+.3f}" if len(points) > 1 else "")
    return table


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=1_000_000, help="size to stop at")
    parser.add_argument("--only", nargs="*", choices=[*AXES], default=[*AXES], metavar="AXIS")
    parser.add_argument("--share", type=float, default=1.0, help="of the workers' events")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(words)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console, begun = Console(stderr=True), time.monotonic()

    def tell(text: str) -> None:
        console.print(f"{time.monotonic() - begun:5.0f} s  {text}", highlight=False)

    prepare(course_folder(), FEW_ITEMS, tell)
    found = measure(given.only, given.most, given.rounds, given.share, tell)
    content: dict[str, Any] = {"machine": machine.described(), "axes": {}}
    for name, sizes in found.items():
        points = {value: median(rounds) for value, rounds in sizes.items()}
        slope = slope_of(points) if len(points) > 1 else None
        content["axes"][name] = {"cpu_us": sizes, "slope": slope}
    out = wide_console()
    out.print(shown(found))
    tell("bytes per event and user")
    costs = Costs.of(open_engine(course_folder() / f"model-{FEW_ITEMS}"), PLAN_EVENTS)
    content["costs"] = msgspec.to_builtins(costs)
    if (whole := found.get("partitions", {}).get(4)) is not None:
        content["plan"] = [need(users, costs, median(whole))._asdict() for users in USERS]
        out.print(plan(costs, median(whole)))
    write_atomically(given.out, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
