"""A worker's metrics with a clock that tests move, and eyes: for tests of what operators see."""

from prometheus_client import CollectorRegistry

from stream_app.metrics import About, Metrics


class Clock:
    """A wall clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """Metrics with a clock and eyes."""

    def __init__(
        self, trained_at: float | None = 1_600_000_000.0, recall: float | None = None
    ) -> None:
        self.clock = Clock()
        self.registry = CollectorRegistry()
        self.metrics = Metrics(
            self.registry,
            self.clock,
            About(
                version="1.2.3",
                delivery="exactly_once",
                model="gru",
                model_version="0123456789abcdef",
                trained_at=trained_at,
                flag_budget=0.001,
                scan_recall=lambda: recall,
                inference_seconds=lambda: 2.5,
            ),
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"clickahead_{name}", labels)

    def series(self) -> int:
        return sum(len(metric.samples) for metric in self.registry.collect())
