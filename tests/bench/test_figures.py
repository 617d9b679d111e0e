"""What is held against the bars, and what capacity follows from it."""

from itertools import pairwise

import pytest

from tests.bench.figures import BARS, Figure, ratios
from tests.bench.plan import Costs, need
from tests.bench.scale import slope_of


@pytest.mark.parametrize("key", BARS)
def test_a_figure_is_met_on_the_right_side_of_its_bar(key: str) -> None:
    bar = BARS[key]
    better = 1.01 if bar.is_to_be == "at least" else 0.99
    assert Figure(key, "", [bar.bar * better]).is_met
    assert not Figure(key, "", [bar.bar / better]).is_met
    # The aim is no easier than the bar.
    assert bar.is_met(bar.aim, bar.bar)


def test_a_ratio_is_taken_within_each_round() -> None:
    slowed = ratios("ratio_quix", "", [10.0, 100.0, 12.0], [2.0, 20.0, 2.0])
    assert (slowed.value, list(slowed.rounds)) == (5.0, [5.0, 5.0, 6.0])
    assert slowed.as_json()["least"] == 5.0
    assert slowed.as_json()["is_met"]


def test_the_slope_is_the_exponent() -> None:
    sizes = (10, 100, 1_000)
    assert slope_of(dict.fromkeys(sizes, 3.0)) == pytest.approx(0)
    assert slope_of({n: 7.0 * n for n in sizes}) == pytest.approx(1)
    assert slope_of({n: n**0.5 for n in sizes}) == pytest.approx(0.5)


def test_what_is_needed_grows_with_the_users() -> None:
    costs = Costs(1_500, 2_000, 1_550, 1_800)
    needs = [need(users, costs, 50.0) for users in (1, 10, 1_000)]
    for less, more in pairwise(needs):
        times = more.users / less.users
        assert [b / a for a, b in zip(less, more, strict=True)] == [pytest.approx(times)] * 6
    # 20 events a day, a tenth of them in one hour; 50 us each on cores that are used to 60 %.
    million = need(1_000_000, costs, 50.0)
    assert million.peak_events == pytest.approx(1_000_000 * 2 / 3_600)
    assert million.cores == pytest.approx(million.peak_events * 50e-6 / 0.6)
