"""Statistics from counted values are those of the values themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.prepare.statistics import statistics_of


@given(
    values=st.lists(st.sampled_from((-1.5, 0.0, 0.25, 3.0, 8.125)), min_size=1), seed=st.randoms()
)
def test_counts_and_their_order_do_not_show(values: list[float], seed: object) -> None:
    found = statistics_of((value, 1) for value in values)
    counted = [(value, values.count(value)) for value in set(values)]
    assert statistics_of(counted) == statistics_of(reversed(counted))
    assert found is not None
    assert found.count == len(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values))
    assert (found.minimum, found.maximum) == (min(values), max(values))


def test_nothing_has_no_statistics() -> None:
    assert statistics_of([]) is None
    assert statistics_of([(float("nan"), 3)]) is None
