"""The demo's screen while it runs: a live page in a terminal, plain lines without one."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.live import Live

from stream_app.core.clean import reader as click_reader
from stream_app.core.config import CoreConfig
from stream_app.demo.follow import Follower
from stream_app.demo.options import DemoOptions
from stream_app.demo.tally import Tally
from stream_app.demo.view import alert_line, headline, page
from stream_app.kafka.connection import Connection
from stream_app.notices import OUT_OF_VOCABULARY

READY_SECONDS = 60.0
PLAIN_EVERY_SECONDS = 5.0
REDRAW_SECONDS = 0.25
Result = TypeVar("Result")


class NotReady(RuntimeError):
    """The worker did not get ready in time."""

    exit_code = 1


class Show:
    """Follows the topics and tells what it sees; ``check`` raises when the worker has ended."""

    def __init__(
        self,
        options: DemoOptions,
        topics: Mapping[str, str],
        config: CoreConfig,
        console: Console,
        check: Callable[[], None],
    ) -> None:
        self.check = check
        self._options, self._topics, self._console = options, topics, console
        self._tally, self._read = Tally(), click_reader(config)
        self._sent, self._started = 0, time.monotonic()
        self._following: asyncio.Task[None] | None = None
        self._said_out_of_vocabulary = False

    def sent_so_far(self, events: int) -> None:
        self._sent = events

    @asynccontextmanager
    async def following(self, connection: Connection) -> AsyncIterator[None]:
        follower = Follower(self._tally, self._topics, self._read, lambda: time.time() * 1000)
        self._following = asyncio.create_task(follower.run(connection))
        try:
            yield
        finally:
            # What was committed last arrives a poll later.
            await asyncio.sleep(0.5)
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
            self._console.print(self._line(), highlight=False)

    async def until_ready(self, metrics_port: int, stop: asyncio.Event) -> None:
        """Wait for the worker's ``/readyz``. Raises NotReady, or what ``check`` raises."""
        started = time.monotonic()
        while not stop.is_set() and not await _is_ready(metrics_port):
            self.check()
            if time.monotonic() - started > READY_SECONDS:
                raise NotReady(f"The worker was not ready after {READY_SECONDS:.0f} s.")
            await asyncio.sleep(0.05)
        seconds = time.monotonic() - started
        self._console.print(f"The worker is ready after {seconds:.1f} s.", highlight=False)

    async def during(self, work: "asyncio.Future[Result]") -> Result:
        """Show what happens until the work is done."""
        self._started = time.monotonic()
        if self._options.plain or not self._console.is_terminal:
            return await self._in_lines(work)
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while not work.done():
                live.update(self._page(), refresh=True)
                await self._pause(work, REDRAW_SECONDS)
        return work.result()

    async def _in_lines(self, work: "asyncio.Future[Result]") -> Result:
        told: set[str] = set()
        while not work.done():
            await self._pause(work, PLAIN_EVERY_SECONDS)
            self._console.print(self._line(), highlight=False, soft_wrap=True)
            for alert_id, anomaly in list(self._tally.open_alerts.items()):
                if alert_id not in told:
                    told.add(alert_id)
                    text = f"  anomaly of {anomaly.user[:8]}: {alert_line(anomaly)}"
                    self._console.print(text, highlight=False, soft_wrap=True)
            if notice := self._notice():
                self._console.print(notice, highlight=False, soft_wrap=True)
        return work.result()

    async def _pause(self, work: "asyncio.Future[Result]", seconds: float) -> None:
        await asyncio.wait([work], timeout=seconds)
        self.check()
        if self._following is not None and self._following.done():
            self._following.result()

    def _notice(self) -> str:
        """What to say once."""
        if self._said_out_of_vocabulary or not self._tally.fallbacks:
            return ""
        self._said_out_of_vocabulary = True
        return OUT_OF_VOCABULARY

    def _line(self) -> str:
        figures = self._tally.figures(time.time() * 1000)
        return headline(self._tally, figures, self._sent, time.monotonic() - self._started)

    def _page(self) -> RenderableType:
        figures = self._tally.figures(time.time() * 1000)
        seconds = time.monotonic() - self._started
        notice = OUT_OF_VOCABULARY if self._tally.fallbacks else ""
        return page(self._tally, figures, self._sent, seconds, notice)


async def _is_ready(port: int) -> bool:
    """Whether the worker's HTTP port says that it serves."""
    try:
        answers, questions = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        questions.write(b"GET /readyz HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n")
        await questions.drain()
        status = await answers.readline()
    finally:
        questions.close()
    return b" 200 " in status
