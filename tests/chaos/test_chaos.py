"""The short form of ``make chaos``: one seed on three brokers and three workers."""

import asyncio
from pathlib import Path

import pytest

from tests.chaos.report import summary
from tests.chaos.run import campaign, parsed

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(280)]

SEED = 1


def test_kills_of_workers_and_brokers_leave_what_an_undisturbed_replay_makes(
    kafka_jars: Path, tmp_path: Path
) -> None:
    arguments = ["--first-seed", str(SEED), "--seconds", "14", "--kills", "10", "--rate", "800"]
    outcomes = asyncio.run(campaign(parsed(arguments), kafka_jars, tmp_path, tmp_path / "kept"))
    for outcome in outcomes:
        assert outcome.passed, [*outcome.faults, *outcome.verdict.differences]
        assert outcome.events > 11_000
    line = summary(outcomes, 0.0)
    assert line["kills"] >= 10
    assert line["acts"].keys() >= {"worker_kill", "worker_start", "broker_start"}
    assert (line["lost"], line["duplicated"], line["mismatched"]) == (0, 0, 0)
