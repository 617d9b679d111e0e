"""The shortest form of ``make soak``: too short for slopes, long enough for its parts."""

import asyncio
from pathlib import Path

import pytest

from tests.chaos.soak import Soak, Watch, judged, soaked
from tests.chaos.steady import Sample, Window

pytestmark = [pytest.mark.timeout(180)]

MIB = 1 << 20


@pytest.mark.kafka
@pytest.mark.slow
def test_two_workers_are_disturbed_and_serve_on(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    soak = Soak(minutes=0.6, rate=300, users_cap=50, fault_seconds=8)
    line = asyncio.run(soaked(soak, kafka, topic_prefix, tmp_path))
    assert line["faults"] == []
    assert line["faults_injected"] >= 1
    assert line["events"] > 9_000
    assert line["predictions"] > 5_000
    # The bound of `make soak` is 5 s; other tests may have this machine's processors now.
    assert line["longest_stall_seconds"] <= 15
    assert line["descriptors"]["growth"] < 10


def watched(leak_bytes: int, opened: int, silent_at: int | None) -> Watch:
    """An hour as it would be seen."""
    watch = Watch()
    for at in range(3_600):
        rss = 300 * MIB + at * leak_bytes + (at % 7) * 50_000
        watch.samples.append(Sample(float(at), rss, 25 + at % 2 + at * opened // 600))
        for seen in watch.arrivals.values():
            if silent_at is None or not silent_at < at < silent_at + 8:
                seen.append(float(at))
    return watch


@pytest.mark.parametrize(
    ("watch", "good"),
    [
        (watched(0, 0, None), True),
        (watched(5_000, 0, None), False),
        (watched(0, 1, None), False),
        (watched(0, 0, 900), False),
        (watched(0, 0, 500), True),  # while a fault is injected
    ],
    ids=["steady", "leaks memory", "leaks descriptors", "stalls", "stalls in a fault"],
)
def test_a_leak_and_a_stall_fail_the_soak(watch: Watch, good: bool) -> None:
    watch.faults.append(Window(495.0, 520.0))
    assert judged(watch, Window(0.0, 3_599.0), 1, [])["passed"] == good
    assert not judged(watch, Window(0.0, 3_599.0), 1, ["a worker ended by itself"])["passed"]
