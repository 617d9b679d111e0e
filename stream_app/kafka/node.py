"""One embedded Kafka node: a Java process that we own, and its log."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from stream_app.kafka.java import Java

STARTED = b"Kafka Server started"
POLL_SECONDS = 0.05
LOG_TAIL_LINES = 20

# The shell becomes Java (same pid). The subshell that it leaves behind reads a pipe that only our
# process holds open, and ends Kafka when our process is gone, even by SIGKILL. PR_SET_PDEATHSIG
# would fire too early: already when the *thread* that started the child ends. The pid cannot be
# another process's by then, for the subshell keeps the process group of that number alive.
LAUNCHER = """
exec 3<&0 </dev/null
(
  read -r _ <&3
  kill -TERM $$
  for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $$ || exit; sleep 1; done
  kill -KILL $$
) >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"""


class BrokerError(RuntimeError):
    """Kafka did not do what it should; the message names its log file."""

    exit_code: ClassVar[int] = 1


def java_environment() -> dict[str, str]:
    """PATH alone: JAVA_TOOL_OPTIONS, CLASSPATH and their like are not meant for this Java."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}


class Node:
    """A node that may be running. ``start`` and ``wait_until_ready`` are apart, for the nodes of
    a cluster wait for one another.
    """

    def __init__(self, node_id: int, directory: Path) -> None:
        self.node_id = node_id
        self.directory = directory
        self.log_path = directory / "kafka.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start_bytes = 0

    @property
    def pid(self) -> int | None:
        """Process id, None when it is not running."""
        process = self.process
        return process.pid if process is not None and process.poll() is None else None

    def start(self, java: Java) -> None:
        """Start the process in a session of its own, so that Ctrl-C in a terminal reaches only
        us, and Kafka outlives whoever still talks to it.
        """
        if self.pid is not None:
            raise BrokerError(f"Kafka node {self.node_id} runs already, as process {self.pid}.")
        self.end()
        command = java.command(self.directory, "kafka.Kafka", self._settings, record=True)
        with self.log_path.open("ab") as log:
            self._log_start_bytes = log.tell()
            self.process = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", LAUNCHER, "kafka", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=java_environment(),
                start_new_session=True,
            )

    def wait_until_ready(self, deadline: float) -> None:
        """Wait until the node serves.

        Args:
            deadline: on the monotonic clock, in seconds.

        Raises:
            BrokerError: it ended, or was not ready in time.
        """
        while STARTED not in self._log_of_this_run():
            if self.process is None or self.process.poll() is not None:
                raise BrokerError(self._failure(f"ended ({self._ending()}) before it was ready"))
            if time.monotonic() > deadline:
                raise BrokerError(self._failure("was not ready in time"))
            time.sleep(POLL_SECONDS)

    def terminate(self) -> None:
        """Ask the node to stop."""
        if self.process is not None:
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)  # a paused process hears nothing else

    def wait(self, timeout_seconds: float) -> bool:
        """Whether the node has ended within the time."""
        if self.process is None:
            return True
        try:
            self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> None:
        """SIGKILL what is left of the node, its watching subshell included."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the running node.

        Raises:
            BrokerError: it is not running.
        """
        if self.process is None or self.pid is None:
            raise BrokerError(f"Kafka node {self.node_id} is not running.")
        self.process.send_signal(number)

    @property
    def _settings(self) -> str:
        return str(self.directory / "server.properties")

    def _log_of_this_run(self) -> bytes:
        with self.log_path.open("rb") as log:
            log.seek(self._log_start_bytes)
            return log.read()

    def _ending(self) -> str:
        code = None if self.process is None else self.process.returncode
        return "not started" if code is None else f"exit code {code}"

    def _failure(self, what: str) -> str:
        return (
            f"Kafka node {self.node_id} {what}. "
            f"The end of its log, {self.log_path}:\n{log_tail(self.log_path)}"
        )


def log_tail(path: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log, for an error message."""
    text = path.read_text("utf-8", "replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) or "(empty)"


def run_tool(java: Java, directories: Sequence[Path], calls: Sequence[Sequence[str]]) -> None:
    """Run one Java program per folder, all at once (each costs a second of start-up).

    Args:
        calls: main class and arguments, one for each folder. Output goes to ``tool.log`` there.

    Raises:
        BrokerError: one of them failed.
    """
    running = []
    for directory, (main, *arguments) in zip(directories, calls, strict=True):
        with (directory / "tool.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603
                java.command(directory, main, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=java_environment(),
            )
        running.append((directory / "tool.log", process))
    codes = [(path, process.wait()) for path, process in running]
    for path, code in codes:
        if code != 0:
            raise BrokerError(
                f"Kafka's storage tool failed with exit code {code}. "
                f"The end of its log, {path}:\n{log_tail(path)}"
            )
