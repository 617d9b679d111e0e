import os
import signal

import pytest

from stream_app.interrupts import ENDS, ends_as_interrupts


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
