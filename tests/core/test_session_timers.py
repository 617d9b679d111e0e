"""A heap of deadlines against a plain dict of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core import compiled
from stream_app.core.session_timers import Due, SessionTimers

ROWS = (0, 1, 2, 255, 256, 3_000)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "cancel", "pop", "all"]),
        st.sampled_from(ROWS),
        st.integers(0, 30),
    ),
    max_size=60,
)


def session_timers(is_plain: bool) -> SessionTimers:
    with pytest.MonkeyPatch.context() as patch:
        if is_plain:
            patch.setattr(compiled, "passes", None)
        return SessionTimers()


@given(steps=STEPS, is_plain=st.booleans())
def test_timers_are_popped_in_the_order_of_their_deadlines(
    steps: list[tuple[str, int, int]], is_plain: bool
) -> None:
    timers, told = session_timers(is_plain), dict[int, Due]()
    for offset, (what, row, at_ms) in enumerate(steps):
        if what == "set":
            told[row] = (at_ms, offset)
            timers.set(row, told[row])
        elif what == "cancel":
            timers.cancel(row)
            told.pop(row, None)
        elif what == "all":
            told = {row: due for row, due in told.items() if due[0] > at_ms}
            columns = np.array([(*due, row) for row, due in told.items()]).reshape(-1, 3)
            timers.set_all(*columns.T)
        else:
            due = sorted((due, row) for row, due in told.items() if due[0] <= at_ms)
            expected = (due[0][1], due[0][0]) if due else None
            assert timers.pop(at_ms) == expected
            if due:
                del told[due[0][1]]
        assert {row for row in ROWS if row in timers} == told.keys()


@pytest.mark.parametrize("is_plain", [False, True])
def test_many_timers_of_a_restart_come_in_their_order_among_new_ones(is_plain: bool) -> None:
    timers, count = session_timers(is_plain), 10_000
    rows = np.random.default_rng(3).permutation(count)
    timers.set_all(rows * 10, rows, rows)
    timers.set(count, (15, 0))
    timers.set(2, (17, 1))  # it had one at 20
    timers.cancel(3)
    found = []
    for watermark_ms in (16, 50_000, 10 * count):
        while (popped := timers.pop(watermark_ms)) is not None:
            found.append(popped[0])
    assert found == [0, 1, count, 2, *range(4, count)]
