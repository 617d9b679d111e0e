"""The stages of a micro-batch leave out nothing between its arrival and its commit."""

from time import time

import pytest

from stream_app.kafka.stages import Stages


def test_stages_add_up_to_the_time_that_passed() -> None:
    clock = Stages(received=0.0)
    clock.mark("wait")
    for _ in range(3):
        clock.mark("decode")
        clock.mark("decide")
    assert set(clock.seconds) == {"wait", "decode", "decide"}
    assert sum(clock.seconds.values()) == pytest.approx(clock._last)


def test_the_stages_reach_from_the_arrival_to_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([100.0, 100.5, 101.0, 103.0])
    monkeypatch.setattr("stream_app.kafka.stages.perf_counter", lambda: next(ticks))
    begun = time()
    clock = Stages(received=99.0)
    for stage in ("wait", "advance", "commit"):
        clock.mark(stage)
    assert clock.seconds == {"wait": 1.5, "advance": 0.5, "commit": 2.0}
    assert clock.since_taken == 2.5
    first, _, last = clock.epochs_ms([(2, 99.0), (1, 100.0)])
    assert last - first == pytest.approx(1_000)
    assert clock.done_ms - first == pytest.approx(1_000 * sum(clock.seconds.values()))
    assert clock.done_ms == pytest.approx(1_000 * (begun + 3.0), abs=500)
