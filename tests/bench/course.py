"""What all entrants run: a model trained on a simulated shop, and that shop's clicks."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from model.engine import EngineError, open_engine
from model.export import export
from stream_app.kafka.jars import cache_root
from tests.bench.plain_graph import PLAIN_GRAPH_FILE, save_plain

FEW_ITEMS, SOME_ITEMS = 17_000, 43_000
CLICKS = 110_000
"""As many as the fastest entrant can be asked."""


class Shop(NamedTuple):
    """Somewhat more items than the model shall know: in so many events not every one is seen."""

    items: int
    events: int
    epochs: int
    batch_sequences: int


SHOPS = {
    FEW_ITEMS: Shop(18_700, 250_000, 1, 128),
    SOME_ITEMS: Shop(47_300, 400_000, 1, 256),
}


class Click(NamedTuple):
    key: bytes
    value: bytes


class Course(NamedTuple):
    model: Path
    plain_model: Path
    """The same weights, exported as one ONNX graph that any ONNX Runtime serves alone: int8 scan
    with exact second pass, the faster one of those at one row as at many."""
    clicks: list[Click]


def course_folder() -> Path:
    """Shops and models are made once for a machine, which takes minutes of one core each."""
    return cache_root(os.environ, Path.home()) / "bench"


def prepare(
    folder: Path, items: int = FEW_ITEMS, tell: Callable[[str], None] = lambda text: None
) -> Course:
    """The model of a shop with ``items`` known items, and the shop's first clicks on them."""
    log, model = shop_log(folder, items, tell), trained_model(folder, items, tell)
    plain = folder / f"plain-model-{items}"
    if not is_served(plain, of=model) or not (plain / PLAIN_GRAPH_FILE).exists():
        tell(f"exporting the model of {items:,} items as one graph")
        part = plain.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(model, part, ignore=shutil.ignore_patterns("train"))
        export(part, scan="int8")
        save_plain(part)
        shutil.rmtree(plain, ignore_errors=True)
        part.rename(plain)
    known = frozenset(json.loads((model / "items.json").read_bytes()))
    return Course(model, plain, list(islice(read(log, known), CLICKS)))


def shop_log(folder: Path, items: int, tell: Callable[[str], None]) -> Path:
    """The clicks of the shop; made once."""
    shop = SHOPS[items]
    log = folder / f"shop-{items}.jsonl"
    if not log.exists():
        tell(f"simulating {shop.events:,} events of a shop of {items:,} items")
        folder.mkdir(parents=True, exist_ok=True)
        part = log.with_suffix(".part")
        users = max(2_000, shop.events // 75)
        said = {"items": shop.items, "users": users, "events": shop.events, "rate": users / 1_000}
        options = [word for name, value in said.items() for word in (f"--{name}", str(value))]
        _run(["simulate", "--out", str(part), "--attacks", "none", "--seed", "1", *options])
        part.rename(log)
    return log


def trained_model(folder: Path, items: int, tell: Callable[[str], None]) -> Path:
    """A model of so many items, as the product trains and exports it; made once."""
    shop, model = SHOPS[items], folder / f"model-{items}"
    if not is_served(model):
        log = shop_log(folder, items, tell)
        tell(f"training a model of {items:,} items")
        part = model.with_suffix(".part")
        settings = (
            "name=bench", "hidden_width=128", "features=none", f"max_items={items}",
            f"epochs={shop.epochs}", f"batch_sequences={shop.batch_sequences}",
            "batch_events=32768", "item_loss=sampled", "held_out=0.0",
        )  # fmt: skip
        options = [word for setting in settings for word in ("--set", setting)]
        _run(["train", str(log), "--out", str(part), *options])
        shutil.rmtree(model, ignore_errors=True)
        part.rename(model)
    return model


def is_served(folder: Path, of: Path | None = None) -> bool:
    """Whether the folder holds a model that this version opens; ``of`` the same weights."""
    try:
        version = open_engine(folder).version
        return of is None or version == open_engine(of).version
    except EngineError:
        return False


def read(log: Path, known: frozenset[str]) -> Iterator[Click]:
    """The log's clicks on known items: an unknown one is an error to most peers."""
    with log.open("rb") as lines:
        for number, line in enumerate(lines):
            raw = json.loads(line)
            if raw.get("item_id") not in known:
                continue
            kept = {name: raw[name] for name in ("user_id", "item_id", "event_type")}
            kept |= {"event_id": f"e{number}", "timestamp": raw["timestamp"]}
            yield Click(raw["user_id"].encode(), msgspec.json.encode(kept))


def _run(arguments: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "stream_app", *arguments], check=True)  # noqa: S603
