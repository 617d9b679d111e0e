"""The demo's worker: a process of its own, as in production, that ends when the demo does."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from stream_app.kafka.node import LAUNCHER, log_tail

STOP_SECONDS = 15.0


class WorkerEnded(RuntimeError):
    """The worker ended by itself; the message has the end of its log."""

    exit_code = 1


class WorkerProcess:
    """``clickahead worker`` with settings from ``environ``, its output in ``log_path``."""

    def __init__(self, environ: Mapping[str, str], log_path: Path) -> None:
        self._log_path = log_path
        with log_path.open("ab") as log:
            # In a session of its own, so that Ctrl-C reaches it only through `stop`, after the
            # clicks that were sent are answered.
            self._process = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", LAUNCHER, "worker", sys.executable, "-m", "stream_app", "worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise WorkerEnded if it no longer runs."""
        code = self._process.poll()
        if code is not None:
            raise WorkerEnded(
                f"The worker ended with exit code {code}. The end of its log, {self._log_path}:\n"
                f"{log_tail(self._log_path)}"
            )

    def stop(self) -> None:
        """Let it deliver what it took, then end it in any case."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
