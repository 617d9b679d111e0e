"""What the worker really exposes, and what an expression asks for: the two sides of a dashboard."""

import re
from typing import NamedTuple

from stream_app.kafka.observer import Progress
from tests.watched_worker import Worker

# Labels that Prometheus itself adds, or that a rule makes.
SCRAPE_LABELS = frozenset({"job", "instance"})

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SELECTOR = re.compile(rf"(?P<name>{_NAME})\s*(?:{{(?P<matchers>[^}}]*)}})?(?!\s*\()")
_MATCHER = re.compile(rf"(?P<label>{_NAME})\s*(?:=~|!~|!=|=)\s*\"(?P<value>[^\"]*)\"")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_PREFIXES = ("clickahead_", "process_", "python_", "job:", "job_kind:")


class Selector(NamedTuple):
    """A metric as an expression names it, with the values it asks of labels."""

    name: str
    matchers: dict[str, str]


def selectors(expression: str) -> list[Selector]:
    """Every metric that a PromQL expression reads."""
    bare = _GROUPING.sub(" ", expression)
    return [
        Selector(
            found["name"],
            {m["label"]: m["value"] for m in _MATCHER.finditer(found["matchers"] or "")},
        )
        for found in _SELECTOR.finditer(bare)
        if found["name"].startswith(_PREFIXES)
    ]


def grouping_labels(expression: str) -> set[str]:
    """Every label that an expression groups or matches by."""
    return {
        label.strip()
        for labels in _GROUPING.findall(expression)
        for label in labels.split(",")
        if label.strip()
    }


def exposed(store: object) -> dict[str, list[dict[str, str]]]:
    """Sample name to the label sets that a worker with one partition in ``store`` exposes."""
    # Of a large catalogue, so that nothing is absent.
    worker = Worker(recall=1.0)
    worker.metrics.progress(Progress(0, store, 0, 0, 0.0))
    samples: dict[str, list[dict[str, str]]] = {}
    for family in worker.registry.collect():
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(dict(sample.labels))
    return samples
