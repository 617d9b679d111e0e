"""A Prometheus histogram that takes a whole batch in one call.

``prometheus_client.Histogram`` takes one Python call per observation. A batch of a thousand events
would pay a thousand of them, so these cells are filled by one pass over an array instead.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Cells:
    """One series: how many values fell into each bucket, and their sum.

    Bucket i holds values in ``(bounds[i-1], bounds[i]]``, the last one everything above. Filled by
    one thread and read by another: each number only grows, and a reader may see the buckets one
    batch ahead of the sum.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        if not bounds or list(bounds) != sorted(set(bounds)) or not np.isfinite(bounds).all():
            raise ValueError(f"bucket bounds must be finite and rise strictly, got {list(bounds)}")
        self.bounds = tuple(bounds)
        self._edges = np.array(bounds, dtype=np.float64)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """Count one value ``count`` times. Below zero counts as zero: clocks of two machines."""
        value = max(value, 0.0)
        self._counts[bisect_left(self.bounds, value)] += count
        self._sum += value * count

    def observe_each(self, values: npt.NDArray[np.float64]) -> None:
        """Count every value of an array [N] once."""
        values = np.maximum(values, 0.0)  # [N]
        buckets = np.searchsorted(self._edges, values, side="left")  # [N]
        self._counts = [
            before + more
            for before, more in zip(
                self._counts,
                np.bincount(buckets, minlength=len(self._counts)).tolist(),
                strict=True,
            )
        ]
        self._sum += float(values.sum())

    def snapshot(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative count per upper bound, as the exposition format wants it, and the sum."""
        total, rows = 0, []
        names = (*map(floatToGoString, self.bounds), "+Inf")
        for name, count in zip(names, list(self._counts), strict=True):
            total += count
            rows.append((name, float(total)))
        return rows, self._sum


class BatchHistogram(Collector):
    """A histogram of one metric, with a series for each value of at most one label."""

    def __init__(
        self,
        name: str,
        documentation: str,
        bounds: Sequence[float],
        label: str | None = None,
        values: Iterable[str] = ("",),
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self.series: Mapping[str, Cells] = {value: Cells(bounds) for value in values}

    @property
    def cells(self) -> Cells:
        """The one series of a histogram without a label."""
        return self.series[""]

    def collect(self) -> list[HistogramMetricFamily]:
        labels = () if self._label is None else (self._label,)
        family = HistogramMetricFamily(self._name, self._documentation, labels=labels)
        for value, cells in self.series.items():
            rows, total = cells.snapshot()
            family.add_metric(() if self._label is None else (value,), rows, total)
        return [family]
