"""What the core costs per event, stage by stage, without Kafka: CPU of this process.

    python -m tests.bench.core_cost [--course FOLDER] [--batches 1,16] [--rounds N] [--golden FILE]

Without a course the model has random weights at the size of the races' (17,000 items, memory of 128
numbers, top-20, ring of 50) and the clicks are of 4,000 users, one in five of whose clicks begins a
session; with one it is the races' trained model and its shop's clicks, several times over. The
store is warmed by some twenty clicks a user. Then every batch size has its turn in each of
``--rounds`` rounds, and the table shows medians in microseconds per event; ``engine`` is what the
model took of ``advance``, ``changes`` what the changelog took.

``--golden FILE`` writes what was published and the changelog as one digest a batch, or, where the
file is there, compares: equal digests say that a change of the code changed no byte.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from model.checkpoint import save
from model.engine import open_engine
from model.export import export
from model.spec import Engine
from stream_app.core.batch import OutputBatch, Route
from stream_app.core.config import CoreConfig
from stream_app.core.pipeline import Stage, play
from stream_app.core.store import PartitionStore
from stream_app.delegates import Meter, Metered
from tests.bench.course import prepare
from tests.core.streams import event_batch
from tests.tiny_model import random_weights, tiny_spec

BATCHES = (1, 16, 64, 256, 512, 2_048)
STAGES = ("decode", "admit", "engine", "advance", "decide", "changes")
USERS, WARM_UP_EVENTS, WARM_UP_BATCH = 4_000, 80_000, 2_048
EVENTS_PER_TURN, BATCHES_PER_TURN = 4_096, 400
START_MS, CLICK_EVERY_MS = 1_700_000_000_000, 280
CONFIG = CoreConfig(pseudonym_key=b"0123456789abcdef")

Costs = dict[str, float]


class Bench:
    """One partition that goes on from batch to batch."""

    def __init__(self, engine: Engine, values: Iterator[bytes]) -> None:
        self._meter, self._values = Meter(time.process_time_ns), values
        self._engine = Metered(engine, self._meter)
        self._store = PartitionStore(0, self._engine, CONFIG)
        self.digests: list[str] = []

    def play(self, count: int) -> Costs:
        """CPU nanoseconds of a batch by stage."""
        batch = event_batch(list(islice(self._values, count)), self._store.next_offset)
        spent = dict.fromkeys(STAGES, 0.0)
        engine, last_ns = self._engine, time.process_time_ns()
        self._meter.spent_ns = 0

        def mark(stage: Stage | str) -> None:
            nonlocal last_ns
            now_ns = time.process_time_ns()
            spent[stage] += now_ns - last_ns
            last_ns = now_ns

        out = play(batch, self._store, {engine.version: engine}, Route(engine.version), mark)
        last_ns = time.process_time_ns()
        changes = self._store.take_changes()
        mark("changes")
        spent["engine"] = self._meter.spent_ns
        spent["advance"] -= self._meter.spent_ns
        self.digests.append(_digest(out, changes))
        return spent

    def turn(self, size: int) -> Costs:
        """Microseconds of CPU per event by stage, in batches of a size."""
        batches = min(max(EVENTS_PER_TURN // size, 1), BATCHES_PER_TURN)
        played = [self.play(size) for _ in range(batches)]
        return {stage: sum(p[stage] for p in played) / (batches * size * 1e3) for stage in STAGES}


def _digest(out: OutputBatch, changes: list[tuple[bytes, bytes | None]]) -> str:
    digest = blake2b(digest_size=16)
    told = msgspec.structs.replace(out, predictions=list(out.predictions))
    digest.update(repr((told, changes)).encode())
    return digest.hexdigest()


def random_model(folder: Path) -> Engine:
    """Random weights at the size of the races' model."""
    spec = tiny_spec(name="random", item_count=17_000, hidden_width=128)
    items = [f"i{code}" for code in range(spec.item_count)]
    save(folder, spec, items, random_weights(spec))
    export(folder, scan="exact")
    return open_engine(folder)


def random_clicks(seed: int = 0) -> Iterator[bytes]:
    """Clicks without end, in the form of the races'."""
    rng, number = np.random.default_rng(seed), 0
    actions = ("view", "view", "view", "view", "cart", "purchase", "search")
    while True:
        users, items = rng.integers(0, USERS, 1_000), rng.zipf(1.3, 1_000) % 17_000
        chosen, pauses = rng.integers(0, len(actions), 1_000), rng.integers(0, 1_000, 1_000)
        columns = (users.tolist(), items.tolist(), chosen.tolist(), pauses.tolist())
        for user, item, action, pause_ms in zip(*columns, strict=True):
            at_ms = START_MS + number * CLICK_EVERY_MS + pause_ms % CLICK_EVERY_MS
            yield msgspec.json.encode(
                {
                    "user_id": f"user-{user}",
                    "item_id": f"i{item}",
                    "event_type": actions[action],
                    "event_id": f"e{number}",
                    "timestamp": at_ms,
                }
            )
            number += 1


def course_clicks(folder: Path) -> Iterator[bytes]:
    """The shop's clicks, over and over, each time later by as long as they last."""
    clicks = [msgspec.json.decode(click.value) for click in prepare(folder).clicks]
    lasts_ms = clicks[-1]["timestamp"] - clicks[0]["timestamp"] + 3_600_000
    number = 0
    while True:
        for click in clicks:
            click["event_id"] = f"e{number}"
            yield msgspec.json.encode(click)
            click["timestamp"] += lasts_ms
            number += 1


def table(costs: Mapping[int, Costs]) -> str:
    """Microseconds of CPU per event, a row for each size of batch."""
    lines = ["batch " + "".join(f"{stage:>9}" for stage in (*STAGES, "sum"))]
    for size, cost in costs.items():
        shown = [*cost.values(), sum(cost.values())]
        lines.append(f"{size:>5} " + "".join(f"{us:>9.2f}" for us in shown))
    return "\n".join(lines)


def measured(bench: Bench, sizes: list[int], rounds: int) -> dict[int, Costs]:
    for _ in range(WARM_UP_EVENTS // WARM_UP_BATCH):
        bench.play(WARM_UP_BATCH)
    turns = [{size: bench.turn(size) for size in sizes} for _ in range(rounds)]
    return {
        size: {stage: median(turn[size][stage] for turn in turns) for stage in STAGES}
        for size in sizes
    }


def main(arguments: list[str]) -> str:
    parser = argparse.ArgumentParser()
    parser.add_argument("--course", type=Path)
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--golden", type=Path)
    given = parser.parse_args(arguments)
    sizes = [int(size) for size in given.batches.split(",")]
    with tempfile.TemporaryDirectory(prefix="clickahead-bench-") as folder:
        if given.course is None:
            bench = Bench(random_model(Path(folder)), random_clicks())
        else:
            engine = open_engine(prepare(given.course).model)
            bench = Bench(engine, course_clicks(given.course))
        found = table(measured(bench, sizes, given.rounds))
    if given.golden is not None:
        found += "\n" + _compared(given.golden, bench.digests)
    return found


def _compared(golden: Path, digests: list[str]) -> str:
    if not golden.exists():
        golden.write_bytes(msgspec.json.encode(digests))
        return f"{len(digests)} digests written"
    held = msgspec.json.decode(golden.read_bytes(), type=list[str])
    pairs = list(zip(held, digests, strict=False))
    other = [n for n, (before, now) in enumerate(pairs) if before != now]
    return f"{len(pairs)} batches compared; " + (f"batch {other[0]} differs" if other else "equal")


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]) + "\n")
