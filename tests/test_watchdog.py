"""A loop that stands still ends its process; one that is busy, or was put to sleep, does not."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream_app.watchdog import watched

ROOT = Path(__file__).parents[1]
PROGRAM = """
import asyncio, sys, time
from stream_app.log_output import set_up_log
from stream_app.watchdog import watched

async def stand_still():
    time.sleep(60)

async def main():
    with watched(asyncio.get_running_loop(), bound_ticks=5, tick_seconds=0.1):
        await asyncio.sleep(0.3)
        print("begins", flush=True)
        await {what}

set_up_log("INFO", "text")
asyncio.run(main())
"""


def program(what: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", PROGRAM.replace("{what}", what)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    return process


def test_a_loop_that_stands_still_ends_the_process_and_says_where_it_stands() -> None:
    started = time.monotonic()
    process = program("stand_still()")
    said, _ = process.communicate(timeout=30)
    assert time.monotonic() - started < 30
    assert process.returncode == 1
    assert "The event loop has stood still" in said
    assert "in stand_still" in said


def test_a_process_that_was_put_to_sleep_goes_on() -> None:
    process = program("asyncio.sleep(1.5)")
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")


@pytest.mark.parametrize("busy_seconds", [0.0, 0.1])
def test_a_loop_that_is_busy_is_left_alone(busy_seconds: float) -> None:
    ended: list[int] = []

    async def scenario() -> None:
        with watched(asyncio.get_running_loop(), 20, 0.02, ended.append):
            for _ in range(4):
                time.sleep(busy_seconds)  # noqa: ASYNC251
                await asyncio.sleep(0.02)

    asyncio.run(scenario())
    assert ended == []
