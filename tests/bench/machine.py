"""What a run runs on, and how little it is to disturb what it measures."""

import gc
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("aiokafka", "faust-streaming", "msgspec", "numpy", "onnxruntime", "torch")


@contextmanager
def uncollected() -> Iterator[None]:
    """Whoever measures times of others must not stand still: no garbage is collected here."""
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def described() -> dict[str, Any]:
    """The machine as JSON."""
    info = Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.*)$", info, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": name[1] if name else platform.machine(),
        "cores": os.cpu_count(),
        "instructions": sorted(known & {"avx2", "fma", "avx512f", "avx512_vnni", "amx_int8"}),
        "memory_gib": round(pages / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "load_average": list(os.getloadavg()),
    }
