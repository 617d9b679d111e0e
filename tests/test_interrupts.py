import asyncio
import os
import signal

import pytest

from stream_app.interrupts import ENDS, ends_as_interrupts, run_until_ended


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL])
def test_every_end_is_an_interrupt_for_a_while(
    number: signal.Signals, before: signal.Handlers
) -> None:
    kept = signal.signal(number, before)
    try:
        with pytest.raises(KeyboardInterrupt), ends_as_interrupts():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) == before
    finally:
        signal.signal(number, kept)


@pytest.mark.parametrize("number", ENDS)
def test_an_end_cancels_what_runs_and_lets_it_close(number: signal.Signals) -> None:
    closed = []

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), number)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            closed.append(number)

    before = signal.getsignal(number)
    run_until_ended(work())
    assert closed == [number]
    assert signal.getsignal(number) in (before, signal.SIG_DFL, signal.default_int_handler)


def test_an_error_of_its_own_is_raised() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_until_ended(work())
