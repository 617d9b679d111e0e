"""A core for the worker alone, while latencies are measured.

In service a worker shares its core neither with brokers nor with who sends and reads. Where all of
them move freely over two cores, p99 is made of who waits for whom: at half of the worker's peak it
was four times as long.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Pin = Callable[[int], None]
"""Gives the core to a process, by its id; call it before the process starts threads."""


def anywhere(pid: int) -> None:
    """A `Pin` that leaves a process where it is."""


@contextmanager
def worker_apart() -> Iterator[Pin]:
    """This process, and all it has started or starts, keep off one core meanwhile. With a single
    core everybody shares it."""
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        yield anywhere
        return
    core = {max(before)}
    _move(family(os.getpid()), before - core)
    try:
        yield lambda pid: os.sched_setaffinity(pid, core)
    finally:
        _move(family(os.getpid()), before)


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def _move(pids: list[int], cores: set[int]) -> None:
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            # Threads end, and processes, while they are listed.
            with suppress(OSError):
                os.sched_setaffinity(int(thread.name), cores)
