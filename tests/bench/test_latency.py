"""What is read from clicks with a time to be sent and a time of their prediction."""

import pytest

from tests.bench.latency import (
    TARGET_SECONDS,
    TRICKLE,
    Asked,
    Taken,
    percentiles_ms,
    seconds_to_recover,
)


def test_the_warm_up_does_not_count() -> None:
    taken = [Taken(0.5, 9.0), *(Taken(1.0 + n, 1.0 + n + 0.004) for n in range(100))]
    assert percentiles_ms(taken) == pytest.approx({"p50": 4.0, "p99": 4.0})


def test_a_burst_is_over_with_the_last_click_that_waits_too_long() -> None:
    fine, late = 0.5 * TARGET_SECONDS, 2 * TARGET_SECONDS
    before = [Taken(1.0, 1.0 + fine), Taken(4.0, 4.0 + late)]
    assert seconds_to_recover(before, ended=10.0) == 0
    behind = [*before, Taken(10.5, 10.5 + late), Taken(12.0, 12.0 + fine)]
    assert seconds_to_recover(behind, ended=10.0) == pytest.approx(0.5 + late)


def test_half_of_the_peak_is_asked_as_far_as_there_are_clicks() -> None:
    assert Asked.of(20_000, 10**9).rates == {"200": TRICKLE, "half": 10_000}
    assert Asked.of(20_000, 10**9).burst == 20_000
    few = Asked.of(20_000, 25_000)
    # Five seconds of the trickle and five of the half, of the same clicks.
    assert 5 * sum(few.rates.values()) == 25_000
    assert 10 * few.burst == 25_000
