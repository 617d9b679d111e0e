"""The worker's core is nobody else's, and everybody has all cores again at the end."""

import os
import subprocess
import sys

import pytest

from tests.bench.cores import family, worker_apart

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_core_is_the_workers_alone() -> None:
    before = os.sched_getaffinity(0)
    with subprocess.Popen(SLEEPS) as broker:  # noqa: S603
        with worker_apart() as pin, subprocess.Popen(SLEEPS) as worker:  # noqa: S603
            pin(worker.pid)
            mine = os.sched_getaffinity(worker.pid)
            assert len(mine) == 1
            assert {broker.pid, worker.pid} <= set(family(os.getpid()))
            others = [os.sched_getaffinity(pid) for pid in (0, broker.pid)]
            assert others == [before - mine, before - mine]
            worker.kill()
        assert os.sched_getaffinity(0) == os.sched_getaffinity(broker.pid) == before
        broker.kill()
