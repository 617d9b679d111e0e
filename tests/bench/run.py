"""Every figure that ClickAhead is measured by, against what runs beside it in the same minutes.

    python -m tests.bench.run [--peers] [--rounds N] [--only PART ...] [--share S] [--out FILE]

Needs nothing but this repository: Kafka is started here, the shops are simulated and their models
trained once, the peers' packages and jars come on the first use. The last lines name bars that are
missed and outputs that are not what they should be; the exit code is 0 where there are none.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.jars import cache_root, ensure_jars
from tests.bench import entrants, machine, report, throughput
from tests.bench.course import FEW_ITEMS, SOME_ITEMS, Course, course_folder, prepare
from tests.bench.figures import Figure
from tests.bench.java_peer import java_command
from tests.bench.peer_packages import peers_python

OUT = Path("build/bench.json")
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


PARTS: dict[str, Callable[[Bench], None]] = {
    "throughput": throughput_part,
    "more_items": more_items_part,
}


@contextmanager
def kafka_of_its_own() -> Iterator[str]:
    jars = ensure_jars(cache_root(os.environ, Path.home()))
    with (
        tempfile.TemporaryDirectory(prefix="clickahead-bench-") as folder,
        EmbeddedKafka(Path(folder), jars) as kafka,
    ):
        yield kafka.bootstrap_servers


def main(words: Sequence[str]) -> int:
    given = arguments().parse_args(words)
    console, shown = Console(stderr=True), Console()
    before = machine.described()
    with kafka_of_its_own() as kafka:
        bench = Bench(console, kafka, given.rounds, given.share, given.peers)
        for part in given.only or PARTS:
            PARTS[part](bench)
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
