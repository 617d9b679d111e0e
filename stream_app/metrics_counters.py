"""Counters whose series are all there from the start."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter


def counters(
    registry: CollectorRegistry, name: str, documentation: str, label: str, values: Iterable[str]
) -> Mapping[str, Counter]:
    """A counter's series for every value of its label, all there from the start at zero: one that
    began with its first increment would hide that increment from ``rate()``."""
    counter = Counter(name, documentation, [label], registry=registry)
    return {value: counter.labels(value) for value in values}
