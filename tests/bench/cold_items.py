"""Items that nobody has clicked, placed by the content tower: a simulated shop, a tenth of whose
items is taken out of the training file, and the shop's next days with all of them.

    python -m tests.bench.cold_items
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHOP = ("--items", "1000", "--categories", "20", "--users", "4000", "--rate", "2")
HONEST = ("--attacks", "none")
TRAINING = ("hidden_width=64", "epochs=8", "held_out=0", "learning_rate=0.005")


def clickahead(*arguments: object) -> None:
    subprocess.run(  # noqa: S603
        [sys.executable, "-m", "stream_app", *map(str, arguments)], cwd=ROOT, check=True
    )


def without_a_tenth(source: Path, catalogue: Path, out: Path) -> int:
    """Copy events but those of every tenth item of the catalogue; returns how many items."""
    items = [json.loads(line)["item_id"] for line in catalogue.read_text().splitlines()]
    hidden = set(items[::10])
    with source.open() as lines, out.open("w") as kept:
        kept.writelines(line for line in lines if json.loads(line).get("item_id") not in hidden)
    return len(hidden)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=60_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        days, known, later = (folder / f"{part}.jsonl" for part in ("days", "known", "later"))
        catalogue, seed = folder / "items.jsonl", ("--seed", options.seed)
        clickahead("simulate", "--out", days, "--catalogue", catalogue, *SHOP, *HONEST, *seed,
                   "--events", options.events)  # fmt: skip
        clickahead("simulate", "--out", later, *SHOP, *HONEST, *seed,
                   "--events", options.events // 4, "--start", "2026-02-02T00:00:00Z")  # fmt: skip
        print(f"{without_a_tenth(days, catalogue, known)} items are hidden")  # noqa: T201
        settings = [part for pair in TRAINING for part in ("--set", pair)]
        clickahead("train", known, "--out", folder / "model", *settings)
        clickahead("train", known, "--from", folder / "model", "--catalogue", catalogue,
                   "--set", "epochs=0", "--out", folder / "placed")  # fmt: skip
        clickahead("evaluate", "--model", folder / "placed", "--test", later,
                   "--catalogue", catalogue)  # fmt: skip


if __name__ == "__main__":
    main()
