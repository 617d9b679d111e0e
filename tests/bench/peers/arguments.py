"""What every peer is told on its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Arguments:
    """Where to read, where to write, what to serve."""

    kafka: str
    source: str
    target: str
    state: str
    """Topic of the state, for peers whose engine makes none itself."""
    model: str
    group: str
    partitions: int
    scratch: str


def parse(arguments: Sequence[str]) -> Arguments:
    parser = argparse.ArgumentParser()
    for name in ("kafka", "source", "target", "state", "model", "group", "scratch"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    return Arguments(**vars(parser.parse_args(arguments)))
