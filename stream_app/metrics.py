"""What an operator can see of a worker: every ``clickahead_*`` metric, in seconds and bytes.

Labels come from closed sets, or name partitions; never a user, an item, an address or the text of
an error, for each new value of a label is one more series for ever. Counters take one call per
batch, histograms one array per batch; what is a state and not an event is read at the scrape.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from stream_app.core.batch import OutputBatch
from stream_app.core.events import ALERT_KINDS, OUTCOMES, REASONS
from stream_app.core.pipeline import Stage
from stream_app.kafka.observer import Done, Progress, Restored, Snapshotted
from stream_app.metrics_counters import counters
from stream_app.metrics_histogram import BatchHistogram
from stream_app.metrics_partitions import Clock, Health, PartitionGauges
from stream_app.metrics_recovery import RecoveryMetrics
from stream_app.metrics_steering import SteeringMetrics

STAGES: tuple[str, ...] = ("wait", *get_args(Stage), "commit")
PARTS = ("broker_wait", "queue", "batch_wait", "inference", "produce")
"""Where an event's way from append to commit goes, in its order but for what the core does before
and after inference, which both is the batch's wait. Together they are the whole of it."""

# A stage that the shell names anew must neither end the worker nor open a series.
OTHER_STAGE = "other"

# The service level behind the latency alerts counts predictions within 0.25 s: keep that bound.
LATENCY_BOUNDS_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
STAGE_BOUNDS_SECONDS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
)  # fmt: skip
LOOP_BOUNDS_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BOUNDS_EVENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

FEW = 20
"""Fewer events are counted faster one by one than in arrays."""


@dataclass(frozen=True)
class About:
    """What stays true of a worker process as long as it runs."""

    version: str
    delivery: str
    model: str
    model_version: str
    trained_at: float | None
    """Seconds since the epoch; None where the model does not say."""
    flag_budget: float
    """Share of normal events that each detector may flag: the setting ``alerts.rate``."""
    scan_recall: Callable[[], float | None] = lambda: None
    """Of the best items, what the open models' scans find; None where it was not looked at."""
    inference_seconds: Callable[[], float] = lambda: 0.0
    """CPU time that models took so far."""
    stall_seconds: float = 180.0
    """A partition or a recovery that stands still for so long is not alive."""


class ScanRecall(Collector):
    """A gauge that is there once there is something to tell."""

    def __init__(self, recall: Callable[[], float | None]) -> None:
        self._recall = recall

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if (found := self._recall()) is not None:
            yield GaugeMetricFamily(
                "clickahead_scan_recall_ratio",
                "Of the exact best items, the share that was predicted where that was looked at.",
                found,
            )


class InferenceTime(Collector):
    """A counter of what is counted elsewhere."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "clickahead_inference_cpu_seconds",
            "CPU time that models took; process_cpu_seconds_total is that of the whole worker.",
            self._seconds(),
        )


class Metrics:
    """The instruments of one worker; the Kafka shell's `Observer`.

    Everything happens on the event loop, scrapes too, so nothing here is locked.
    """

    def __init__(self, registry: CollectorRegistry, clock: Clock, about: About) -> None:
        self.registry = registry
        self._partitions = PartitionGauges(clock, about.stall_seconds)
        registry.register(self._partitions)
        self.steering = SteeringMetrics(registry)
        self._flow(registry)
        self._timing(registry)
        self._recovery = RecoveryMetrics(
            registry, lambda: self._partitions.restoring_for_seconds is not None
        )
        self._constants(registry, about)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def health(self) -> Health:
        return self._partitions.health()

    # --- the shell's observer

    def batch(self, done: Done) -> None:
        outputs: OutputBatch = done.outputs
        _add(self._events, outputs.outcomes)
        _add(self._rejected, outputs.reject_reasons)
        _add(self._flags, outputs.flags)
        judged = {
            "surprise": outputs.outcomes["predicted"],
            "session_close": outputs.closed_sessions,
        }
        _add(self._judged, judged)
        self._fallbacks.inc(outputs.fallbacks)
        self.steering.batch(outputs)
        self._oversized.inc(done.oversized)
        self._batch_events.cells.observe(len(done.timestamps_ms))
        for stage, seconds in done.stage_seconds.items():
            known = stage if stage in STAGES else OTHER_STAGE
            self._stages.series[known].observe(seconds)
        self._attribute(done)

    def _attribute(self, done: Done) -> None:
        """Each event's latency by parts, of the events whose append time is known."""
        stages, parts = done.stage_seconds, self._parts.series
        inference, produce = stages.get("advance", 0.0), stages.get("commit", 0.0)
        since_taken = sum(seconds for stage, seconds in stages.items() if stage != "wait")
        taken_ms = done.done_ms - since_taken * 1000
        if len(done.received_ms) == len(done.timestamps_ms) < FEW:
            count = self._late_one_by_one(done, taken_ms)
        else:
            count = self._late(done, taken_ms)
        parts["batch_wait"].observe(since_taken - inference - produce, count)
        parts["inference"].observe(inference, count)
        parts["produce"].observe(produce, count)

    def _late_one_by_one(self, done: Done, taken_ms: float) -> int:
        """As ``_late``, faster for few events."""
        whole, parts = self._latency.cells, self._parts.series
        times = zip(done.timestamps_ms, done.received_ms, strict=True)
        known = [(appended, received) for appended, received in times if appended >= 0]
        for appended_ms, received_ms in known:
            whole.observe((done.done_ms - appended_ms) / 1000)
            parts["broker_wait"].observe((received_ms - appended_ms) / 1000)
            parts["queue"].observe((taken_ms - received_ms) / 1000)
        return len(known)

    def _late(self, done: Done, taken_ms: float) -> int:
        """What differs by event; of how many the parts are known."""
        appended_ms = np.asarray(done.timestamps_ms, np.int64)  # [N]
        known = appended_ms >= 0  # [N]
        self._latency.cells.observe_each((done.done_ms - appended_ms[known]) / 1000)
        received_ms = np.asarray(done.received_ms, np.float64)  # [N], or none
        if len(received_ms) != len(appended_ms):
            return 0
        self._parts.series["broker_wait"].observe_each((received_ms - appended_ms)[known] / 1000)
        self._parts.series["queue"].observe_each((taken_ms - received_ms)[known] / 1000)
        return int(np.count_nonzero(known))

    def progress(self, progress: Progress) -> None:
        self._partitions.reported(progress)

    def rebalanced(self, partitions: Collection[int]) -> None:
        self._recovery.rebalanced(len(partitions))
        self._partitions.rebalanced()

    def restoring(self, read: int, total: int) -> None:
        self._recovery.restoring(read, total)
        self._partitions.restoring()

    def restored(self, restored: Restored) -> None:
        self._recovery.restored(restored)
        self._partitions.restored()

    def snapshot(self, snapshot: Snapshotted) -> None:
        self._recovery.snapshot(snapshot)

    # --- the event loop

    def loop_was_late(self, seconds: float) -> None:
        """Time between when a timer was due on the event loop and when it ran."""
        self._loop_lag.cells.observe(seconds)

    # --- the instruments

    def _flow(self, registry: CollectorRegistry) -> None:
        self._events = counters(
            registry,
            "clickahead_events",
            "Input records by what became of them; each has exactly one outcome.",
            "outcome",
            OUTCOMES,
        )
        self._rejected = counters(
            registry,
            "clickahead_rejected",
            "Records that went to the dead-letter topic, by reason.",
            "reason",
            REASONS,
        )
        self._flags = counters(
            registry,
            "clickahead_flags",
            "Anomaly alerts that opened, by detector.",
            "kind",
            ALERT_KINDS,
        )
        self._judged = counters(
            registry,
            "clickahead_judged",
            "What each detector looked at: events, or closed sessions.",
            "kind",
            ALERT_KINDS,
        )
        self._fallbacks = Counter(
            "clickahead_fallbacks",
            "Predictions that the model could not make: its vocabulary does not know the items.",
            registry=registry,
        )
        self._oversized = Counter(
            "clickahead_oversized_outputs",
            "Outputs that were too large for their topic and replaced by a stub.",
            registry=registry,
        )

    def _timing(self, registry: CollectorRegistry) -> None:
        self._latency = BatchHistogram(
            "clickahead_event_to_prediction_seconds",
            "From the broker's append of an event to the commit of what it caused.",
            LATENCY_BOUNDS_SECONDS,
        )
        self._parts = BatchHistogram(
            "clickahead_latency_part_seconds",
            "From an event's append to its commit, by where the time went; the parts' sum is the"
            " whole.",
            LATENCY_BOUNDS_SECONDS,
            "part",
            PARTS,
        )
        self._stages = BatchHistogram(
            "clickahead_stage_seconds",
            "Time of a micro-batch in each stage.",
            STAGE_BOUNDS_SECONDS,
            "stage",
            (*STAGES, OTHER_STAGE),
        )
        self._batch_events = BatchHistogram(
            "clickahead_batch_events",
            "Events in a micro-batch; its count is the number of micro-batches delivered.",
            BATCH_BOUNDS_EVENTS,
        )
        self._loop_lag = BatchHistogram(
            "clickahead_event_loop_lag_seconds",
            "How late timers of the event loop run.",
            LOOP_BOUNDS_SECONDS,
        )
        for histogram in (
            self._latency,
            self._parts,
            self._stages,
            self._batch_events,
            self._loop_lag,
        ):
            registry.register(histogram)

    def _constants(self, registry: CollectorRegistry, about: About) -> None:
        Info("clickahead_worker", "The worker that runs.", registry=registry).info(
            {"version": about.version, "delivery": about.delivery}
        )
        Info("clickahead_model", "The model that is served.", registry=registry).info(
            {"model": about.model, "version": about.model_version}
        )
        trained = Gauge(
            "clickahead_model_trained_timestamp_seconds",
            "When the served model was trained; absent where the model does not say.",
            ["model"],
            registry=registry,
        )
        if about.trained_at is not None:
            trained.labels(about.model).set(about.trained_at)
        registry.register(ScanRecall(about.scan_recall))
        registry.register(InferenceTime(about.inference_seconds))
        Gauge(
            "clickahead_flag_budget_ratio",
            "Share of normal events that each detector may flag.",
            registry=registry,
        ).set(about.flag_budget)


def _add(series: Mapping[str, Any], counts: Mapping[str, int]) -> None:
    for value, count in counts.items():
        if count:
            series[value].inc(count)
