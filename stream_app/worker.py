"""One worker process: start the app, serve, and end well, by a signal or by a failure."""

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import uvloop

from stream_app.kafka.application import Application
from stream_app.watchdog import watched

log = logging.getLogger(__name__)

STOP_SECONDS = 15.0
"""A worker that has not stopped by then is ended as it is; nothing is lost by that."""

THREAD_SECONDS = 0.5

OK, FAILED = 0, 1

Prepare = Callable[[], AbstractAsyncContextManager[Application]]


def run(prepare: Prepare) -> int:
    """Serve until SIGTERM or SIGINT comes, or something fails. Returns the exit code: 0 after a
    signal; after a failure the ``exit_code`` of its exception, or 1.

    ``prepare`` is entered in the event loop and left after the app has stopped. What was taken when
    the signal came is still delivered. A second signal ends the process where it stands.

    Raises whatever ``prepare`` raises.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_serve(prepare))
    _leave_no_thread(code)
    return code


async def _serve(prepare: Prepare) -> int:
    loop = asyncio.get_running_loop()
    with watched(loop):
        return await _watched(prepare, loop)


async def _watched(prepare: Prepare, loop: asyncio.AbstractEventLoop) -> int:
    async with prepare() as app:
        # All that is loaded by now stays; a collection that walked through it would hold up every
        # event for tens of milliseconds.
        gc.collect()
        gc.freeze()
        signalled = _signals(loop)
        # Faust's own worker program would say so.
        app.in_worker = True
        starting = asyncio.create_task(app.start())
        crashed = asyncio.create_task(app.wait_until_stopped())
        waiting: set[asyncio.Future[None]] = {starting, signalled, crashed}
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if signalled in done:
                log.info("Stopping: what was taken is delivered first.")
                return await _stop(app, OK)
            failure = app.crash_reason or (starting.exception() if starting in done else None)
            if failure is not None or crashed in done:
                log.critical("The worker ends: %s", failure, exc_info=failure)
                return await _stop(app, getattr(failure, "exit_code", FAILED))


def _signals(loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
    """Done at the first SIGTERM or SIGINT."""
    signalled: asyncio.Future[None] = loop.create_future()

    def on_signal(number: int) -> None:
        if signalled.done():
            _end(128 + number)
        signalled.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return signalled


async def _stop(app: Application, code: int) -> int:
    try:
        await asyncio.wait_for(app.stop(), STOP_SECONDS)
    except Exception as error:
        log.critical("The worker could not stop in order: %r", error)
        _end(code or FAILED)
    return code


def _leave_no_thread(code: int) -> None:
    """A process ends with its last thread, and the consumer's may wait for a Kafka that hangs."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(THREAD_SECONDS)
            if thread.is_alive():
                log.warning("%s still waits for Kafka; the process ends without it.", thread.name)
                _end(code)


def _end(code: int) -> None:
    """End the process now. A thread that hangs would keep a normal exit waiting."""
    logging.shutdown()
    os._exit(code)
