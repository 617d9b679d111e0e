"""What the core costs in units of a yardstick that no change of the core touches.

    python -m tests.bench.guard [--renew]

Prints the figures beside those of ``baseline.json``; ``--renew`` writes them there, those of the
compiled core and those of its plain form. Both sides are CPU time of this process, in turn, the
fastest turn of each: other work on the machine slows both, and the fastest turns the least.
"""

import argparse
import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

import stream_app.core
from model.engine import open_engine
from model.spec import Engine
from stream_app.core.batch import EventBatch, OutputBatch, Route
from stream_app.core.compiled import is_compiled
from stream_app.core.config import CoreConfig
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from tests.core.streams import event_batch
from tests.tiny_model import tiny_spec, write_tiny_model

BASELINE = Path(__file__).with_name("baseline.json")
NATIVE = Path(stream_app.core.__file__).parent / "native"
EXTENSION = "stream_app.core.extension.passes"
FORMS = ("compiled", "plain")
LEAST_OF_BASELINE = 0.75
SIZES = {"trickle": 4, "backlog": 512}
"""Events of a batch, by the name of the figure."""

USERS, ITEMS = 400, 30
TURNS, EVENTS_PER_TURN, WARM_UP_EVENTS = 8, 1_024, 4_096

Play = Callable[[EventBatch, PartitionStore, Engine], OutputBatch]


def core(batch: EventBatch, store: PartitionStore, engine: Engine) -> OutputBatch:
    """The core as a worker calls it, the changelog included."""
    out = play(batch, store, {engine.version: engine}, Route(engine.version))
    store.take_changes()
    return out


def speeds(engine: Engine, under_test: Play = core) -> dict[str, float]:
    """Yardsticks in the time of as many events of the core, by the size of the batches."""
    clicks = _clicks()
    store = PartitionStore(0, engine, CoreConfig(pseudonym_key=bytes(16)))
    for _ in range(WARM_UP_EVENTS // 512):
        under_test(_batch(clicks, 512, store.next_offset), store, engine)
    yard = float("inf")
    best = dict.fromkeys(SIZES, float("inf"))
    for _ in range(TURNS):
        values = list(islice(clicks, EVENTS_PER_TURN))
        yard = min(yard, _cpu_seconds(lambda given=values: yardstick(given)))  # type: ignore[misc]
        for name, size in SIZES.items():
            count = EVENTS_PER_TURN // size if size > 64 else 64
            # Made before: making a batch takes a good part of what playing it does.
            first = store.next_offset
            batches = [_batch(clicks, size, first + n * size) for n in range(count)]

            def turn(batches: list[EventBatch] = batches) -> None:
                for batch in batches:
                    under_test(batch, store, engine)

            seconds = _cpu_seconds(turn) * EVENTS_PER_TURN / (size * count)
            best[name] = min(best[name], seconds)
    return {name: yard / seconds for name, seconds in best.items()}


def yardstick(values: list[bytes]) -> int:
    """Work of the kinds that the core does: JSON in and out, dictionaries, small arrays."""
    rng = np.random.default_rng(0)
    table = rng.random((256, 64), np.float32)  # [256, 64]
    seen: dict[str, int] = {}
    written = 0
    for start in range(0, len(values), 64):
        clicks = [msgspec.json.decode(value) for value in values[start : start + 64]]
        for click in clicks:
            seen[click["user_id"]] = seen.get(click["user_id"], 0) + 1
        rows = np.array([hash(click["item_id"]) % 256 for click in clicks])
        for _ in range(20):
            logits = table[rows] @ table[:32].T  # [64, 32]
            best = np.argsort(-logits, axis=1)  # [64, 32]
        for click, row in zip(clicks, best.tolist(), strict=True):
            items = [{"item_id": f"i{code}", "probability": code / 64} for code in row[:20]]
            written += len(msgspec.json.encode(click | {"items": items}))
    return written


def slower(now: Mapping[str, float], baseline: Mapping[str, float]) -> list[str]:
    """What fell by more than a quarter, in words."""
    return [
        f"{name}: {now[name]:.3f} yardsticks, the baseline has {wanted:.3f}"
        for name, wanted in baseline.items()
        if now[name] < LEAST_OF_BASELINE * wanted
    ]


def form() -> str:
    """How the core runs here: what it has in C is compiled, or there was no compiler."""
    is_built = all(source.with_suffix(".so").exists() for source in NATIVE.glob("*.c"))
    return FORMS[0] if is_built and is_compiled() else FORMS[1]


def read_baseline() -> dict[str, dict[str, float]]:
    """By form."""
    return msgspec.json.decode(BASELINE.read_bytes(), type=dict[str, dict[str, float]])


def _cpu_seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _clicks() -> Iterator[bytes]:
    """Clicks without end: some in new sessions, some with a dwell time, of everyday actions."""
    rng = np.random.default_rng(1)
    actions = ("view", "view", "view", "cart", "purchase", "search")
    for number in range(1 << 40):
        user, item, action = rng.integers(0, (USERS, ITEMS, len(actions))).tolist()
        yield msgspec.json.encode(
            {
                "event_id": f"e{number}",
                "user_id": f"user-{user}",
                "item_id": f"i{item}",
                "event_type": actions[action],
                "timestamp": 1_700_000_000_000 + 400 * number,
            }
        )


def _batch(clicks: Iterator[bytes], size: int, offset: int) -> EventBatch:
    return event_batch(list(islice(clicks, size)), offset)


def measured(in_form: str) -> dict[str, float]:
    """The best of some tries, in a process of its own."""
    hiding = f"import sys; sys.modules[{EXTENSION!r}] = None\n" if in_form == "plain" else ""
    words = f"['--form', {in_form!r}]"
    code = f"{hiding}from tests.bench import guard; print(guard.main({words}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)  # noqa: S603
    return msgspec.json.decode(done.stdout, type=dict[str, float])


def best_of_tries(in_form: str) -> dict[str, float]:
    if in_form == "plain":
        _hide_libraries()
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(write_tiny_model(Path(folder), tiny_spec()))
        tries = [speeds(engine) for _ in range(3)]
    return {name: round(max(one[name] for one in tries), 4) for name in SIZES}


def _hide_libraries() -> None:
    """Let the core find nothing compiled, as where it was installed without a compiler."""
    load = ctypes.CDLL

    def hiding(name: str, *rest: object, **named: object) -> ctypes.CDLL:
        if Path(name).parent == NATIVE:
            raise OSError
        return load(name, *rest, **named)  # type: ignore[arg-type]

    ctypes.CDLL = hiding  # type: ignore[assignment,misc]


def main(words: list[str]) -> str:
    parser = argparse.ArgumentParser(prog="tests.bench.guard")
    parser.add_argument("--renew", action="store_true", help="write baseline.json")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.form:
        return msgspec.json.encode(best_of_tries(given.form)).decode()
    now = {name: measured(name) for name in FORMS if name == "plain" or form() == name}
    if given.renew:
        held = {**read_baseline(), **now}
        BASELINE.write_bytes(msgspec.json.format(msgspec.json.encode(held), indent=2) + b"\n")
    baseline = read_baseline()
    return "\n".join(
        f"{in_form} {name}: {found:.3f}, baseline {baseline[in_form][name]:.3f}"
        for in_form, speeds_now in now.items()
        for name, found in speeds_now.items()
    )


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]) + "\n")
