"""Laws of the level: it rises with the lag, holds in between, and comes back to nothing."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stream_app.overload import FULL, MAX_LEVEL, Load, OverloadConfig, effective_lag_ms, weighed

CONFIG = OverloadConfig(lag_ms=1_000, recover_ms=100)
LAGS = st.integers(0, 20_000)


def after(lags: list[int], load: Load = Load(), step_ms: int = 10) -> Load:  # noqa: B008
    for number, lag in enumerate(lags):
        load = weighed(load, lag, number * step_ms, CONFIG)
    return load


@given(lags=st.lists(LAGS, max_size=30), lag=LAGS)
def test_a_lag_is_answered_at_once_and_never_by_less_than_it_asks(
    lags: list[int], lag: int
) -> None:
    level = weighed(after(lags), lag, 10_000, CONFIG).level
    asked = max([n for n in range(1, MAX_LEVEL + 1) if lag >= CONFIG.entered_at_ms(n)], default=0)
    assert FULL <= asked <= level <= MAX_LEVEL


@given(lags=st.lists(LAGS, max_size=30))
def test_a_level_between_its_bounds_holds_however_the_lag_sways(lags: list[int]) -> None:
    load = after(lags)
    if load.level in (FULL, MAX_LEVEL):
        return
    low, high = CONFIG.entered_at_ms(load.level) / 2, CONFIG.entered_at_ms(load.level + 1)
    swaying = [int(low), int(high) - 1] * 50
    assert after(swaying, load).level == load.level


@given(lags=st.lists(LAGS, max_size=30))
def test_without_lag_everything_is_done_again_one_level_at_a_time(lags: list[int]) -> None:
    load = after(lags)
    levels = [load.level]
    for number in range(60):
        load = weighed(load, 0, 1_000 + number * 10, CONFIG)
        levels.append(load.level)
    assert all(before - now in (0, 1) for before, now in pairwise(levels))
    assert levels[-1] == FULL


def test_calm_has_to_last() -> None:
    load = after([1_000])
    assert load.level == 1
    assert after([400] * 10, load).level == 1  # 90 ms
    assert after([400] * 11, load).level == 0  # 100 ms
    assert after([400] * 6 + [600] + [400] * 6, load).level == 1


@given(lag=LAGS)
def test_without_a_bound_nothing_is_left_out(lag: int) -> None:
    assert weighed(Load(), lag, 0, OverloadConfig(lag_ms=None)).level == FULL


def test_a_backlog_counts_from_when_it_is_served() -> None:
    assert effective_lag_ms(0, serving_since_ms=900, now_ms=1_000) == 100
    assert effective_lag_ms(950, serving_since_ms=900, now_ms=1_000) == 50
    # The clocks of broker and worker differ.
    assert effective_lag_ms(1_010, serving_since_ms=900, now_ms=1_000) == 0
    assert effective_lag_ms(-1, serving_since_ms=0, now_ms=1_000) == 0
    assert effective_lag_ms(None, serving_since_ms=0, now_ms=1_000) == 0
