"""A heap of deadlines against a plain dict of them."""

from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.session_timers import Due, SessionTimers

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "cancel", "pop", "all"]),
        st.integers(0, 5),
        st.integers(0, 30),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_timers_are_popped_in_the_order_of_their_deadlines(
    steps: list[tuple[str, int, int]],
) -> None:
    timers, told = SessionTimers(), dict[bytes, Due]()
    for offset, (what, user, at_ms) in enumerate(steps):
        name = bytes([user])
        if what == "set":
            told[name] = (at_ms, offset)
            timers.set(name, told[name])
        elif what == "cancel":
            timers.cancel(name)
            told.pop(name, None)
        elif what == "all":
            entries = sorted((due, name) for name, due in told.items() if due[0] > at_ms)
            told = {name: due for due, name in entries}
            due_ms, offsets = [due[0] for due, _ in entries], [due[1] for due, _ in entries]
            timers.set_all(due_ms, offsets, list(told))
        else:
            due = sorted((due, name) for name, due in told.items() if due[0] <= at_ms)
            expected = (due[0][1], due[0][0]) if due else None
            assert timers.pop(at_ms) == expected
            if due:
                del told[due[0][1]]
        assert [user for user in range(6) if bytes([user]) in timers] == sorted(
            name[0] for name in told
        )
