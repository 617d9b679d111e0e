"""Every figure that ClickAhead is measured by, against what runs beside it in the same minutes.

    python -m tests.bench.run [--peers] [--rounds N] [--only PART ...] [--share S] [--out FILE]

Needs nothing but this repository: Kafka is started here, the shops are simulated and their models
trained once, the peers' packages and jars come on the first use. The last lines name bars that are
missed and outputs that are not what they should be; the exit code is 0 where there are none.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from stream_app.kafka.jars import JarsError, cache_root
from tests.bench import entrants, machine, report, throughput
from tests.bench.cores import worker_apart
from tests.bench.course import (
    FEW_ITEMS,
    SHOPS,
    SOME_ITEMS,
    Course,
    course_folder,
    prepare,
    trained_model,
)
from tests.bench.figures import Figure, ratios
from tests.bench.java_peer import java_command
from tests.bench.latency import latency_figures
from tests.bench.own_kafka import kafka_of_its_own
from tests.bench.peer_packages import peers_python
from tests.bench.race import ROOT, run_lap

OUT = Path("build/bench.json")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
MANY_ITEMS = 500_000
ROUNDS = 5


@dataclass
class Bench:
    """One run: what it was told, and what it has found so far."""

    console: Console
    kafka: str
    rounds: int
    share: float
    peers: bool
    figures: list[Figure] = field(default_factory=list)
    agreements: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def tell(self, text: str) -> None:
        self.console.print(f"{time.monotonic() - self.begun:5.0f} s  {text}", highlight=False)

    def course(self, items: int) -> Course:
        return prepare(course_folder(), items, self.tell)


def throughput_part(bench: Bench) -> None:
    """Everybody over 17,000 items."""
    cache = cache_root(os.environ, Path.home())
    apart = entrants.with_packages_of(peers_python(cache / "bench", bench.tell))
    peers = {**throughput.BASIC, "plain_aiokafka": entrants.PLAIN_AIOKAFKA, "quix": apart["quix"]}
    if bench.peers:
        peers |= apart | {"kafka_streams": entrants.kafka_streams(java_command(cache))}
    raced = throughput.race(
        bench.course(FEW_ITEMS), bench.kafka, peers, bench.rounds, bench.share, bench.tell
    )
    bench.figures += [*throughput.figures_of(raced), *throughput.ready_figures(raced)]
    bench.agreements |= raced.agreements
    bench.wrong += raced.disagreements


def more_items_part(bench: Bench) -> None:
    """Naive Faust and ours over 43,000 items."""
    peers = {"naive_faust": entrants.NAIVE_FAUST._replace(events=700)}
    raced = throughput.race(
        bench.course(SOME_ITEMS), bench.kafka, peers, bench.rounds, bench.share, bench.tell
    )
    bench.figures += throughput.figures_of(raced, "_43k")
    bench.agreements |= {f"{key}_43k": said for key, said in raced.agreements.items()}
    bench.wrong += raced.disagreements


def _measured(module: str, *words: str) -> dict[str, Any]:
    """What a module prints that has a process of its own, for its threads and its memory."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", f"tests.bench.{module}", *words],
        check=False, capture_output=True, text=True, cwd=ROOT, env=os.environ | ONE_THREAD,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def scan_part(bench: Bench) -> None:
    """The served top-20 beside full scans: the smaller shops against the bound in float32, the
    largest against what torch takes."""
    for items, name, rival in (
        (FEW_ITEMS, "17k", "bound"),
        (SOME_ITEMS, "43k", "bound"),
        (MANY_ITEMS, "500k", "torch"),
    ):
        if items in SHOPS:
            trained_model(course_folder(), items, bench.tell)
        bench.tell(f"scans of {items:,} items")
        found = _measured("scan_figures", str(items), "--rounds", str(bench.rounds))
        served, over = found["served_us"], found[f"{rival}_us"]
        what = f"top-20 of {found['items']:,} items ({found['scan']}) over "
        what += "the float32 bound" if rival == "bound" else "torch's product and top-K"
        bench.figures += [
            ratios(f"topk_{name}", what, served, over),
            Figure(f"recall_{name}", "recall@20 of it", [found["recall"]]),
            Figure(f"log_z_error_{name}", "p99 error of log Z in nats", [found["log_z_error_p99"]]),
            Figure(f"topk_us_{name}", "us per query", served),
            Figure(f"topk_torch_us_{name}", "torch's us per query", found["torch_us"]),
            Figure(f"topk_bound_us_{name}", "us per query, float32 bound", found["bound_us"]),
        ]


def users_part(bench: Bench) -> None:
    """What a million users and long histories cost."""
    trained_model(course_folder(), FEW_ITEMS, bench.tell)
    bench.tell("a million users")
    found = _measured("users_figures", str(FEW_ITEMS), "--rounds", str(bench.rounds))
    by_users, by_history = found["flat_users_by_users"], found["flat_users_by_history"]
    worse = max(by_users, by_history, key=median)
    bench.figures += [
        Figure("flat_users", "CPU per event, the worse of the next two", worse),
        Figure("flat_users_by_users", f"with {found['users']:,} users over 1,000", by_users),
        Figure("flat_users_by_history", "with 100,000 events a user over 10", by_history),
        Figure("state_bytes", "bytes of a user's state, ring full", [found["state_bytes"]]),
        Figure("rss_gib", f"GiB resident with {found['users']:,} users", [found["rss_gib"]]),
        Figure("memory_bytes_per_user", "bytes of memory a user", [found["memory_bytes_per_user"]]),
    ]


def latency_part(bench: Bench) -> None:
    """p99 at a trickle and at half of the peak, and how a burst passes."""
    course = bench.course(FEW_ITEMS)
    entrant = entrants.AT_LEAST_ONCE
    entrant = entrant._replace(events=int(entrant.events * max(bench.share, 0.25)))
    with worker_apart() as pin:
        bench.figures += latency_figures(
            bench.kafka,
            course,
            lambda: run_lap(entrant, course, bench.kafka, pin).events_per_second,
            bench.rounds,
            pin,
            bench.tell,
        )


PARTS: dict[str, Callable[[Bench], None]] = {
    "throughput": throughput_part,
    "more_items": more_items_part,
    "scan": scan_part,
    "users": users_part,
    "latency": latency_part,
}


def main(words: Sequence[str]) -> int:
    given = arguments().parse_args(words)
    # New topics have no leaders for a while, and aiokafka tells of each try.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console, shown = Console(stderr=True), report.wide_console()
    before = machine.described()
    with kafka_of_its_own() as kafka:
        bench = Bench(console, kafka, given.rounds, given.share, given.peers)
        for part in given.only or PARTS:
            try:
                PARTS[part](bench)
            except (JarsError, RuntimeError, TimeoutError) as error:
                # What the other parts find is worth having.
                bench.wrong.append(f"{part} was not measured: {error!r}")
    about: dict[str, Any] = {
        "machine": before,
        "rounds": given.rounds,
        "share": given.share,
        "seconds": round(time.monotonic() - bench.begun),
        "agreements": bench.agreements,
        "wrong": bench.wrong,
    }
    report.write(given.out, bench.figures, about)
    title = f"{given.rounds} rounds on {before['cores']} cores, {before['processor']}"
    report.show(shown, bench.figures, title)
    for key, said in bench.agreements.items():
        shown.print(f"{key}: {said}", highlight=False)
    for said in bench.wrong:
        shown.print(f"WRONG: {said}", highlight=False)
    shown.print(f"All of it is in {given.out}.", highlight=False)
    return int(bool(bench.wrong) or not all(figure.is_met for figure in bench.figures))


def arguments() -> argparse.ArgumentParser:
    text = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(prog="tests.bench.run", description=text[0])
    parser.add_argument("--peers", action="store_true", help="Bytewax and Kafka Streams, too")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of everybody in turn")
    parser.add_argument("--only", nargs="*", choices=[*PARTS], help="parts, instead of all")
    parser.add_argument("--share", type=float, default=1.0, help="of the events of a full run")
    parser.add_argument("--out", type=Path, default=OUT, help="file for the figures")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
