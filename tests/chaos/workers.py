"""Worker processes that are killed, stopped, paused and started as a plan wants it."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from stream_app.kafka.cluster import free_ports
from stream_app.kafka.node import LAUNCHER, log_tail
from tests.chaos.schedule import Act

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 20.0
READY_SECONDS = 40.0
LOOK_SECONDS = 0.1
REVIVE_SECONDS = 0.5
ON_THE_DEAD = ("start", "wipe", "spoil")


class Done(NamedTuple):
    """An act that found something to act on, when it did."""

    at_ms: int  # epoch
    act: Act


class Worker:
    """One place for a worker: at most one process at a time, which is started again when it ends
    by itself, as any supervisor would do.
    """

    def __init__(
        self, name: str, environ: Mapping[str, str], folder: Path, done: list[Done]
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self.state_dir = folder / f"{name}-state"
        self.acts: asyncio.Queue[Act] = asyncio.Queue()
        self.faults: list[str] = []
        """Endings that nobody asked for, as sentences."""
        self._done = done
        (self._port,) = free_ports(1)
        self._environ = {
            **environ,
            "CLICKAHEAD_WORKER__METRICS_PORT": str(self._port),
            "CLICKAHEAD_WORKER__STATE_DIR": str(self.state_dir),
            "OMP_NUM_THREADS": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        if self.pid is not None:
            return
        self._bury()
        with self.log_path.open("ab") as log:
            log.write(b"--- started at %d\n" % (time.time() * 1_000))
            log.flush()
            self._process = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", LAUNCHER, "worker", sys.executable, "-m", "stream_app", "worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environ,
                cwd=ROOT,
                start_new_session=True,
            )

    async def tend(self) -> None:
        """Do what comes in ``acts``, one after the other, until cancelled."""
        while True:
            try:
                act = await asyncio.wait_for(self.acts.get(), LOOK_SECONDS)
            except TimeoutError:
                await self._revive()
                continue
            if (self.pid is None) == (act.deed in ON_THE_DEAD) or act.deed == "restart":
                self._done.append(Done(int(time.time() * 1_000), act))
                await self._do(act)
            self.acts.task_done()

    async def _do(self, act: Act) -> None:
        if act.deed == "kill":
            self.signal(signal.SIGKILL)
            self._bury()
        elif act.deed == "pause":
            self.signal(signal.SIGSTOP)
        elif act.deed == "resume":
            self.signal(signal.SIGCONT)
        elif act.deed == "stop":
            await self.stop()
        elif act.deed == "start":
            self.start()
        elif act.deed == "wipe":
            shutil.rmtree(self.state_dir, ignore_errors=True)
        elif act.deed == "spoil":
            spoil(self.state_dir)
        else:
            await self.stop()
            self.start()
            await self.until_ready()

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    async def stop(self) -> None:
        """SIGTERM, and the exit code has to be 0."""
        process = self._process
        if process is None or self.pid is None:
            self._bury()
            return
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            code = await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.faults.append(f"{self.name} had not stopped {STOP_SECONDS:.0f} s after SIGTERM")
        else:
            # Before it has imported what handles the signal, the signal itself ends it.
            if code not in (0, -signal.SIGTERM):
                self.faults.append(f"{self.name} ended with exit code {code} after SIGTERM")
        self._bury()

    async def until_ready(self) -> bool:
        """Whether it serves within the time."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.pid is not None:
            if await ready(self._port):
                return True
            await asyncio.sleep(LOOK_SECONDS)
        return False

    async def _revive(self) -> None:
        process = self._process
        if process is not None and (code := process.poll()) is not None:
            self.faults.append(f"{self.name} ended by itself with exit code {code}: {self._why()}")
            self._bury()
            await asyncio.sleep(REVIVE_SECONDS)
            self.start()

    def _why(self) -> str:
        """What the log says of the end: its last critical line, else its last lines."""
        text = self.log_path.read_text("utf-8", "replace")
        _, _, life = text.rpartition("--- started")
        critical = [line for line in life.splitlines() if " CRITICAL " in line]
        return critical[-1] if critical else log_tail(self.log_path, 3)

    def _bury(self) -> None:
        """What is left of a process: its watching subshell, and itself where it does not stop."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def end(self) -> None:
        """SIGKILL, for the end of a run that went wrong."""
        self._bury()


def spoil(folder: Path) -> None:
    """Every file of a folder but for its length in ruins: cut short, or other bytes in its middle,
    in turn."""
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        content = path.read_bytes()
        half = len(content) // 2
        damaged = content[half : half + 8][::-1] + b"?"
        path.write_bytes(content[:half] + (damaged + content[half + 9 :] if number % 2 else b""))


async def ready(port: int) -> bool:
    """Whether the worker with this metrics port says that it serves."""
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: worker\r\n\r\n")
            status = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return b" %d " % HTTPStatus.OK in status
