"""Kills a real cluster and its workers by plan, and compares what is left with `replay`.

``python -m tests.chaos.run --seeds 20`` or ``make chaos SEEDS=20``. The last line is a JSON object;
the exit code is 1 when anything was lost, doubled or altered. The logs of a run that failed stay in
``build/chaos``.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from model.engine import open_engine
from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.jars import cache_root, ensure_jars
from tests.chaos.cluster import cluster_in
from tests.chaos.one_run import Run, Stage
from tests.chaos.report import Outcome, summary
from tests.chaos.schedule import plan
from tests.tiny_model import tiny_spec, write_tiny_model

DELIVERIES = ("exactly_once", "at_least_once")
KEPT = Path("build/chaos")
FEATURES = ("hour_sin", "hour_cos", "dwell", "interval")
OTHER_ACTIONS = ("_close", "other", "cart", "view", "refund", "purchase")


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--delivery", choices=[*DELIVERIES, "both"], default="exactly_once")
    parser.add_argument("--seconds", type=float, default=20.0, help="of traffic per seed")
    parser.add_argument("--kills", type=int, default=12, help="SIGKILLs planned per seed")
    parser.add_argument("--rate", type=float, default=2_000.0, help="events a second")
    return parser.parse_args(arguments)


async def campaign(
    given: argparse.Namespace, jars: Path, folder: Path, kept: Path = KEPT
) -> list[Outcome]:
    """All runs, one after the other, on one cluster."""
    deliveries = DELIVERIES if given.delivery == "both" else (given.delivery,)
    models = models_in(folder / "models")
    cluster = cluster_in(folder / "kafka", jars)
    outcomes = []
    began = time.monotonic()
    await asyncio.to_thread(cluster.start)
    say(f"3 brokers after {time.monotonic() - began:.1f} s")
    try:
        for number in range(given.first_seed, given.first_seed + given.seeds):
            for delivery in deliveries:
                plan_of_run = plan(number, given.seconds, given.kills)
                stage = Stage(cluster, models, folder / "runs", given.rate, said(number, delivery))
                run = Run(stage, plan_of_run, delivery)
                outcomes.append(outcome := await run.carry_out())
                tell(outcome, given)
                if not outcome.passed or outcome.endings:
                    keep(run, cluster, kept)
                shutil.rmtree(run.folder)
                await whole_again(cluster)
    finally:
        await asyncio.to_thread(cluster.stop)
    return outcomes


def models_in(folder: Path) -> dict[str, Path]:
    """Two models by version; the second has another memory and knows other actions."""
    specs = (
        tiny_spec(features=FEATURES),
        tiny_spec(features=FEATURES, hidden_width=12, actions=OTHER_ACTIONS),
    )
    found = {}
    for seed, spec in enumerate(specs):
        made = write_tiny_model(folder / f"made-{seed}", spec, seed)
        version = open_engine(made).version
        found[version] = made.rename(folder / version)
    return found


async def whole_again(cluster: EmbeddedKafka) -> None:
    """The next run begins with all brokers."""
    for number in cluster.node_ids:
        if cluster.pid(number) is None:
            await asyncio.to_thread(cluster.start_node, number)


def keep(run: Run, cluster: EmbeddedKafka, kept: Path) -> None:
    """Logs of a run that failed, or in which a worker ended by itself."""
    target = kept / run.folder.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run.folder, target)
    for number in cluster.node_ids:
        shutil.copy(cluster.log_path(number), target / f"broker-{number}.log")
    say(f"  logs are in {target}")


def said(seed: int, delivery: str):  # type: ignore[no-untyped-def]
    began = time.monotonic()
    return lambda text: say(f"seed {seed} {delivery} {time.monotonic() - began:5.1f} s: {text}")


def tell(outcome: Outcome, given: argparse.Namespace) -> None:
    verdict = outcome.verdict
    kills = outcome.deeds["worker_kill"] + outcome.deeds["broker_kill"]
    say(
        f"seed {outcome.seed} {outcome.delivery}: {'ok' if outcome.passed else 'FAILED'};"
        f" {outcome.events} events, {kills} kills, lost {verdict.lost}, duplicated"
        f" {verdict.duplicated}, mismatched {verdict.mismatched}, {outcome.seconds:.0f} s"
    )
    for ending in outcome.endings:
        say(f"  {ending}")
    if not outcome.passed:
        for line in [*outcome.faults, *verdict.differences]:
            say(f"  {line}")
        say(
            f"  again: make chaos FIRST_SEED={outcome.seed} SEEDS=1 DELIVERY={outcome.delivery}"
            f" SECONDS={given.seconds:g} KILLS={given.kills} RATE={given.rate:g}"
        )


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    given = parsed(arguments)
    began = time.monotonic()
    jars = ensure_jars(cache_root(os.environ, Path.home()))
    with tempfile.TemporaryDirectory(prefix="clickahead-chaos-") as folder:
        outcomes = asyncio.run(campaign(given, jars, Path(folder)))
    say(json.dumps(summary(outcomes, time.monotonic() - began)))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
