import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from stream_app.metrics_histogram import BatchHistogram, Cells

BOUNDS = (0.125, 0.25, 1.0, 8.0)
# Eighths, bounds among them: their sums are exact, so that equal means equal.
VALUES = st.integers(0, 80).map(lambda n: n / 8)


def exposed(values: list[float]) -> bytes:
    """What the library's own histogram says after one call for each value."""
    registry = CollectorRegistry()
    histogram = Histogram("h_seconds", "Help.", buckets=BOUNDS, registry=registry)
    for value in values:
        histogram.observe(value)
    lines = generate_latest(registry).splitlines(keepends=True)
    return b"".join(line for line in lines if b"_created" not in line)


def batched() -> tuple[CollectorRegistry, Cells]:
    registry = CollectorRegistry()
    histogram = BatchHistogram("h_seconds", "Help.", BOUNDS)
    registry.register(histogram)
    return registry, histogram.cells


@given(batches=st.lists(st.lists(VALUES, max_size=20), max_size=5))
def test_arrays_count_as_the_librarys_histogram_counts_one_by_one(
    batches: list[list[float]],
) -> None:
    registry, cells = batched()
    for batch in batches:
        cells.observe_each(np.array(batch, np.float64))
    one_by_one = [value for batch in batches for value in batch]
    assert generate_latest(registry) == exposed(one_by_one)


@given(value=VALUES, count=st.integers(0, 50))
def test_one_value_many_times_counts_as_that_many_calls(value: float, count: int) -> None:
    registry, cells = batched()
    cells.observe(value, count)
    assert generate_latest(registry) == exposed([value] * count)


def test_a_value_below_zero_counts_as_zero() -> None:
    cells = Cells(BOUNDS)
    cells.observe(-3.0, 2)
    cells.observe_each(np.array([-0.5]))
    rows, total = cells.snapshot()
    assert rows[0] == ("0.125", 3.0)
    assert total == 0.0


def test_a_label_has_all_its_series_from_the_start() -> None:
    registry = CollectorRegistry()
    histogram = BatchHistogram("h_seconds", "Help.", BOUNDS, "stage", ("decode", "commit"))
    registry.register(histogram)
    histogram.series["commit"].observe(0.5)
    assert registry.get_sample_value("h_seconds_count", {"stage": "decode"}) == 0
    assert registry.get_sample_value("h_seconds_bucket", {"stage": "commit", "le": "1.0"}) == 1


@pytest.mark.parametrize("bounds", [(), (1.0, 1.0), (2.0, 1.0), (1.0, float("inf"))])
def test_bounds_that_do_not_rise_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="finite and rise strictly"):
        Cells(bounds)
