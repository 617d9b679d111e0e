"""Compiles what is written in C when ClickAhead is installed; hatchling calls it.

Without a compiler the install goes on: each compiled module has a form in Python with the same
results, which is slower.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = (
    "model/native/scan.c",
    "stream_app/core/native/predictions.c",
    "stream_app/core/native/reservoir.c",
    "stream_app/kafka/native/record_batches.c",
)
FLAGS = ("-O3", "-std=c11", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=hidden")


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts a shared library beside each source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        compiler = _compiler()
        for source in SOURCES:
            path = Path(self.root, source)
            library = path.with_suffix(".so")
            if compiler is None or not _compile(compiler, path, library):
                library.unlink(missing_ok=True)
                print(  # noqa: T201
                    f"clickahead: {source} was not compiled: its slower form in Python will serve."
                    " Install a C compiler (Debian, Ubuntu: the package gcc) and install again.",
                    file=sys.stderr,
                )
                continue
            build_data["artifacts"].append(str(library.relative_to(self.root)))
            build_data["pure_python"] = False
            build_data["infer_tag"] = True


def _compiler() -> list[str] | None:
    named = shlex.split(os.environ.get("CC", ""))
    if named:
        return named
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    return None if found is None else [found]


def _compile(compiler: list[str], source: Path, library: Path) -> bool:
    part = library.with_suffix(f".{os.getpid()}.part")
    command = [*compiler, *FLAGS, str(source), "-o", str(part), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        print(f"clickahead: {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return False
    if done.returncode:
        part.unlink(missing_ok=True)
        print(done.stderr[-2000:], file=sys.stderr)  # noqa: T201
        return False
    part.replace(library)
    return True
