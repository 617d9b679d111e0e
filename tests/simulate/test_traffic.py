# ruff: noqa: S311 (a simulation)

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.simulate.config import DAY_MS, START_MS, SimulatorConfig
from stream_app.simulate.traffic import WARM_UP_MS, beginnings, intensity

WEEK_HOURS = 7 * 24


@given(st.floats(0, 1))
def test_the_mean_over_a_week_is_one(day_cycle: float) -> None:
    hours = [intensity(START_MS + hour * 3_600_000, day_cycle) for hour in range(WEEK_HOURS)]
    assert sum(hours) / WEEK_HOURS == pytest.approx(1, abs=0.001)
    assert min(hours) >= 0


def test_evenings_and_weekends_are_busy() -> None:
    config = SimulatorConfig()
    times = itertools.takewhile(
        lambda at_ms: at_ms < START_MS + 7 * DAY_MS, beginnings(config, 0.5, Random(1))
    )
    by_hour = [0] * 24
    by_day = [0] * 7
    count = 0
    for at_ms in times:
        if at_ms >= START_MS:
            count += 1
            by_hour[(at_ms - START_MS) % DAY_MS // 3_600_000] += 1
            by_day[(at_ms - START_MS) // DAY_MS] += 1
    assert count == pytest.approx(0.5 * 7 * 86_400, rel=0.02)
    assert by_hour[20] > 2.5 * by_hour[8]
    assert min(by_day[5:]) > max(by_day[:5])


def test_the_shop_opens_with_people_in_it() -> None:
    config = SimulatorConfig(day_cycle=0.0)
    times = list(itertools.islice(beginnings(config, 1.0, Random(1)), 1_000))
    assert times == sorted(times)
    before = sum(at_ms < START_MS for at_ms in times)
    assert before == pytest.approx(WARM_UP_MS / 1000, rel=0.15)
