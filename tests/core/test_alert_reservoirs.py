"""Calibration scores come back from their records, and leave the changelog at a swap."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.alert_reservoirs import AlertReservoirs
from stream_app.core.changelog import block_key
from stream_app.core.events import ALERT_KINDS
from stream_app.core.state import StateError

Make = Callable[..., OnnxEngine]
RELAXED = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

SCORES = st.lists(st.tuples(st.sampled_from(ALERT_KINDS), st.floats(0, 99, width=32)), max_size=99)


@RELAXED
@given(scores=SCORES, cut=st.integers(0, 99), is_answered=st.booleans())
def test_records_make_the_reservoirs_again(
    scores: list[tuple[str, float]], cut: int, is_answered: bool, tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with()
    held, changelog = AlertReservoirs(engine, 64), dict[bytes, bytes]()
    for part in (scores[:cut], scores[cut:]):
        for seed, (kind, score) in enumerate(part):
            held.by_kind[kind].learn(score, seed)  # type: ignore[index]
        changed, gone = held.take_changes()
        changelog |= dict(changed)
        assert gone == []
    assert changelog == dict(held.records())
    again = AlertReservoirs(engine, 64)
    for key, value in changelog.items():
        again.restore(key[1], int.from_bytes(key[2:], "big"), value)
    assert again.records() == held.records()
    if is_answered:
        again.fill()
        assert again.records() == held.records()
        assert again.counts() == held.counts()
    again.swap(engine)
    changed, gone = again.take_changes()
    assert changed == []
    assert sorted(gone) == sorted(changelog)
    assert again.take_changes() == ([], [])


def test_a_block_is_floats(tiny_engine_with: Make) -> None:
    with pytest.raises(StateError, match="a block of scores has 5 bytes"):
        AlertReservoirs(tiny_engine_with(), 64).restore(0, 0, b"12345")
    assert block_key(1, 258) == b"c\1\1\2"
