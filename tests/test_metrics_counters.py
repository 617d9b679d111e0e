"""A series that began with its first increment would hide it from rates."""

from prometheus_client import CollectorRegistry

from stream_app.metrics_counters import counters


def test_every_series_is_there_before_anything_is_counted() -> None:
    registry = CollectorRegistry()
    found = counters(registry, "clicks", "Clicks by button.", "button", ("left", "right"))
    found["left"].inc(2)
    assert registry.get_sample_value("clicks_total", {"button": "left"}) == 2
    assert registry.get_sample_value("clicks_total", {"button": "right"}) == 0
