"""The worker's HTTP port: ``/metrics``, ``/healthz`` and ``/readyz``, and nothing else.

It runs on the worker's own event loop: what it reads cannot change under it, and a loop that hangs
fails the liveness probe by not answering.
"""

import asyncio
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import ClassVar, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from stream_app.invocation import ExitCode
from stream_app.metrics import Metrics

log = logging.getLogger(__name__)

REQUEST_SECONDS = 5.0
"""A client that has not sent its request or read its answer by then is cut off."""

MAX_REQUEST_BYTES = 8192
MAX_CLIENTS = 16
TICK_SECONDS = 0.5


class MetricsPortUnusable(OSError):
    """The address that the settings name cannot be listened on."""

    exit_code: ClassVar[int] = ExitCode.USAGE


class Answer(NamedTuple):
    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class MetricsServer:
    """Serves one `Metrics` on ``host:port`` between ``start`` and ``stop``."""

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        self._metrics = metrics
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._clients = 0

    @property
    def port(self) -> int:
        """The port in use; settings may leave the choice to the system by naming 0."""
        return self._port

    async def start(self) -> None:
        """Listen. Raises MetricsPortUnusable."""
        try:
            self._server = await asyncio.start_server(
                self._serve, self._host, self._port, limit=MAX_REQUEST_BYTES
            )
        except OSError as error:
            raise MetricsPortUnusable(
                f"metrics cannot be served on {self._host}:{self._port}"
                f" ({error.strerror or error}); set worker.metrics_port to a free port, or to 0"
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]
        self._ticking = asyncio.create_task(self._tick())
        log.info("Metrics on http://%s:%d/metrics", self._host, self._port)

    async def stop(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._metrics.loop_was_late(loop.time() - due)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients <= MAX_CLIENTS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    await self._exchange(reader, writer)
        except (TimeoutError, ConnectionError):
            writer.transport.abort()
        finally:
            self._clients -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            answered, method = Answer(HTTPStatus.BAD_REQUEST, b"bad request\n"), "GET"
        else:
            method, path = parse(request)
            answered = answer(self._metrics, method, path)
        writer.write(encode(answered, with_body=method != "HEAD"))
        await writer.drain()


def parse(request: bytes) -> tuple[str, str]:
    """Method and path, without its query; empty where the request has none."""
    method, _, rest = request.decode("latin-1").partition("\r\n")[0].partition(" ")
    return method, rest.partition(" ")[0].partition("?")[0]


def answer(metrics: Metrics, method: str, path: str) -> Answer:
    """What a path says. Nothing of the request is repeated."""
    if method not in ("GET", "HEAD"):
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"use GET\n")
    if path == "/metrics":
        # Every Prometheus reads this format, and OpenMetrics takes twice as long to write.
        exposed = generate_latest(WithoutCreated(metrics.registry))
        return Answer(HTTPStatus.OK, exposed, CONTENT_TYPE_PLAIN_0_0_4)
    if path in ("/healthz", "/readyz"):
        health = metrics.health()
        good = health.alive if path == "/healthz" else health.ready
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(status, f"{health.sentence}\n".encode())
    return Answer(HTTPStatus.NOT_FOUND, b"not found\n")


def encode(answered: Answer, *, with_body: bool) -> bytes:
    """An HTTP/1.1 response that ends its connection."""
    head = (
        f"HTTP/1.1 {answered.status.value} {answered.status.phrase}\r\n"
        f"Content-Type: {answered.content_type}\r\n"
        f"Content-Length: {len(answered.body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (answered.body if with_body else b"")


class WithoutCreated(Collector):
    """A registry without the ``_created`` series: they double every counter, and nobody asks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric
