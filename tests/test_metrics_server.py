import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stream_app.kafka.observer import Restored
from stream_app.metrics_server import (
    MAX_CLIENTS,
    MAX_REQUEST_BYTES,
    TICK_SECONDS,
    MetricsPortUnusable,
    MetricsServer,
)
from tests.watched_worker import Worker


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[MetricsServer]:
    server = MetricsServer(worker.metrics, "127.0.0.1", 0)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def send(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to the bytes of a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    if not request.endswith(b"\r\n\r\n"):
        writer.write_eof()
    said = await reader.read()
    writer.close()
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    return await send(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def run(worker: Worker, check: Callable[[MetricsServer], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving(worker) as server:
            await check(server)

    asyncio.run(main())


def test_metrics_are_served_as_prometheus_reads_them_without_created_series() -> None:
    async def check(server: MetricsServer) -> None:
        status, headers, body = await get(server.port, "/metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        plain = {family.name for family in text_string_to_metric_families(body.decode())}
        assert "clickahead_events" in plain
        assert b"_created" not in body
        assert (await get(server.port, "/metrics?name=x"))[0] == 200

    run(Worker(), check)


def test_probes_follow_the_workers_health() -> None:
    worker = Worker()

    async def check(server: MetricsServer) -> None:
        assert (await get(server.port, "/healthz"))[0] == 200
        assert (await get(server.port, "/readyz"))[0] == 503
        worker.metrics.rebalanced([0])
        worker.metrics.restored(Restored(1, 0, 0, 0, 0.1))
        assert await get(server.port, "/readyz") == (
            200,
            {
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": "21",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                "Connection": "close",
            },
            b"serving 0 partitions\n",
        )
        worker.metrics.rebalanced([0])
        worker.clock.now += 1000
        status, _, body = await get(server.port, "/healthz")
        assert (status, body) == (503, b"recovery has read nothing for 1000 s\n")

    run(worker, check)


@pytest.mark.parametrize("path", ["/", "/metrics/", "/table", "/../metrics", "/favicon.ico", "x"])
def test_nothing_else_is_served(path: str) -> None:
    async def check(server: MetricsServer) -> None:
        status, _, body = await get(server.port, path)
        assert (status, body) == (404, b"not found\n")

    run(Worker(), check)


def test_only_get_and_head_are_answered() -> None:
    async def check(server: MetricsServer) -> None:
        status, headers, body = await send(server.port, b"HEAD /metrics HTTP/1.0\r\n\r\n")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 1000
        assert (await send(server.port, b"POST /metrics HTTP/1.1\r\n\r\n"))[0] == 405

    run(Worker(), check)


@pytest.mark.parametrize(
    "request_bytes", [b"", b"\xff\x00\r\n\r\n", b"GET\r\n\r\n", b"GET /metrics HTTP/1.1\r\n"]
)
def test_rubbish_is_answered_with_an_error_and_the_server_goes_on(request_bytes: bytes) -> None:
    async def check(server: MetricsServer) -> None:
        assert (await send(server.port, request_bytes))[0] in (400, 404, 405)
        assert (await get(server.port, "/healthz"))[0] == 200

    run(Worker(), check)


def test_a_request_that_is_too_long_is_refused() -> None:
    async def check(server: MetricsServer) -> None:
        long = b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 2 * MAX_REQUEST_BYTES + b"\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(long)
        try:
            said = await reader.read()
        except ConnectionResetError:
            # The server closed with our bytes unread; its answer may be lost with them.
            said = b"HTTP/1.1 400 "
        assert said.startswith(b"HTTP/1.1 400 ")
        writer.close()

    run(Worker(), check)


def test_clients_that_send_nothing_cannot_pile_up() -> None:
    async def check(server: MetricsServer) -> None:
        silent = [
            await asyncio.open_connection("127.0.0.1", server.port) for _ in range(MAX_CLIENTS)
        ]
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await reader.read() == b""
        for _, other in [*silent, (reader, writer)]:
            other.close()

    run(Worker(), check)


def test_a_port_in_use_is_a_sentence_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = MetricsServer(Worker().metrics, "127.0.0.1", port)
        with pytest.raises(MetricsPortUnusable, match=r"set worker\.metrics_port") as raised:
            asyncio.run(server.start())
    assert f"127.0.0.1:{port}" in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_late_event_loop_is_seen() -> None:
    worker = Worker()

    async def check(server: MetricsServer) -> None:
        await asyncio.sleep(0)
        time.sleep(TICK_SECONDS + 0.5)  # noqa: ASYNC251 (holding the loop is the point)
        await asyncio.sleep(0.01)

    run(worker, check)
    assert (worker.value("event_loop_lag_seconds_sum") or 0) > 0.4
