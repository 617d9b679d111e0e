"""What all entrants run: one trained model, one list of clicks."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

ITEMS, USERS, CLICKS = 17_000, 2_000, 150_000


class Click(NamedTuple):
    key: bytes
    value: bytes


class Course(NamedTuple):
    model: Path
    clicks: list[Click]


def prepare(folder: Path, items: int = ITEMS) -> Course:
    """A shop's clicks and a model trained on them; made once, then read from ``folder``."""
    log, model = folder / f"shop-{items}.jsonl", folder / f"model-{items}"
    if not log.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = log.with_suffix(".part")
        shop = {"items": items, "users": USERS, "events": CLICKS, "attacks": "none", "seed": 1}
        options = [word for name, value in shop.items() for word in (f"--{name}", str(value))]
        _run(["simulate", "--out", str(part), *options])
        part.rename(log)
    if not (model / "step.onnx").exists():
        shutil.rmtree(model, ignore_errors=True)
        settings = ("name=bench", "epochs=1", "hidden_width=128", "features=none", "held_out=0.0")
        options = [word for setting in settings for word in ("--set", setting)]
        _run(["train", str(log), "--out", str(model), *options])
    known = frozenset(json.loads((model / "items.json").read_bytes()))
    return Course(model, read(log, known))


def read(log: Path, known: frozenset[str]) -> list[Click]:
    """The log's clicks on known items: an unknown one is an error to most peers."""
    clicks = []
    with log.open("rb") as lines:
        for number, line in enumerate(lines):
            raw = json.loads(line)
            if raw.get("item_id") not in known:
                continue
            kept = {name: raw[name] for name in ("user_id", "item_id", "event_type")}
            kept |= {"event_id": f"e{number}", "timestamp": raw["timestamp"]}
            clicks.append(Click(raw["user_id"].encode(), msgspec.json.encode(kept)))
    return clicks


def _run(arguments: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "stream_app", *arguments], check=True)  # noqa: S603
