"""Freed blocks are taken again without page faults."""

import subprocess
import sys

COUNT = """
import resource, sys
from model.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def step():
    return len([b"x" * (9_000_000 + n) for n in range(4)])
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


def test_freed_memory_is_used_again_without_the_kernel() -> None:
    assert faults("kept") < faults("given back") / 10
