"""Compiles what is written in C when ClickAhead is installed; hatchling calls it.

Without a compiler the install goes on: each compiled module has a form in Python with the same
results, which is slower.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Library(NamedTuple):
    """A pattern of sources, the shared library that they make, and what it takes to make it."""

    sources: str
    path: str
    include: str | None = None
    packages: str = "gcc"  # of Debian and Ubuntu


ALONE = (
    "stream_app/core/native/predictions",
    "stream_app/core/native/reservoir",
    "stream_app/kafka/native/record_batches",
)
LIBRARIES = (
    Library("model/native/scan*.c", "model/native/scan.so"),
    *(Library(f"{name}.c", f"{name}.so") for name in ALONE),
    # An extension module carries the tag of the Python that it is made for: no other opens it.
    Library(
        "stream_app/core/extension/*.c",
        f"stream_app/core/extension/passes{sysconfig.get_config_var('EXT_SUFFIX')}",
        sysconfig.get_path("include"),
        "gcc and python3-dev",
    ),
)
FLAGS = ("-O3", "-std=c11", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=hidden")


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts each shared library beside its sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        compiler = _compiler()
        for library in LIBRARIES:
            path = Path(self.root, library.path)
            if compiler is None or not _compile(compiler, library, Path(self.root)):
                path.unlink(missing_ok=True)
                print(  # noqa: T201
                    f"clickahead: {library.sources} was not compiled: its slower form in Python"
                    " will serve. Install a C compiler (Debian, Ubuntu: the package "
                    f"{library.packages}) and install again.",
                    file=sys.stderr,
                )
                continue
            build_data["artifacts"].append(library.path)
            build_data["pure_python"] = False
            build_data["infer_tag"] = True


def _compiler() -> list[str] | None:
    named = shlex.split(os.environ.get("CC", ""))
    if named:
        return named
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    return None if found is None else [found]


def _compile(compiler: list[str], library: Library, root: Path) -> bool:
    path = root / library.path
    part = path.with_suffix(f".{os.getpid()}.part")
    include = [] if library.include is None else [f"-I{library.include}"]
    sources = [str(source) for source in sorted(root.glob(library.sources))]
    command = [*compiler, *FLAGS, *include, *sources, "-o", str(part), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        print(f"clickahead: {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return False
    if done.returncode:
        part.unlink(missing_ok=True)
        print(done.stderr[-2000:], file=sys.stderr)  # noqa: T201
        return False
    part.replace(path)
    return True
