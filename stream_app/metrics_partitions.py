"""How far each partition of a worker is, and whether the worker is alive and ready.

Series of a partition are there while the worker holds it and gone when it moves to another: a value
that stayed behind would be added to the new owner's for ever.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from stream_app.core.store import PartitionStore
from stream_app.kafka.observer import Progress

Clock = Callable[[], float]
"""Seconds since the epoch."""


class Health(NamedTuple):
    """What the probes answer; the sentences name partitions and times alone."""

    alive: bool
    ready: bool
    sentence: str


@dataclass
class Held:
    """A partition, its last report, and when its offset last moved or had nowhere to move."""

    progress: Progress
    moved_at: float

    def lag_seconds(self, now: float) -> float:
        """Age of the oldest record that waits. Where the shell does not know it, because the record
        was not even fetched, the time for which records have waited and nothing moved bounds it.
        """
        if self.progress.lag_records == 0:
            return 0.0
        return max(self.progress.lag_seconds, now - self.moved_at)


class PartitionGauges(Collector):
    """Gauges by partition, read from the partitions' stores when somebody scrapes."""

    def __init__(self, clock: Clock, stall_seconds: float) -> None:
        self._clock = clock
        self._stall_seconds = stall_seconds
        self._held: dict[int, Held] = {}
        self._restoring_since: float | None = None
        self._read_at = clock()
        self._ready = False

    def reported(self, progress: Progress) -> None:
        now, held = self._clock(), self._held.get(progress.partition)
        if held is None:
            self._held[progress.partition] = Held(progress, now)
            return
        if progress.lag_records == 0 or progress.next_offset != held.progress.next_offset:
            held.moved_at = now
        held.progress = progress

    def rebalanced(self) -> None:
        """What was held is held no more until it is reported again."""
        self._held.clear()
        self._ready = False
        self._restoring_since = self._read_at = self._clock()

    def restoring(self) -> None:
        self._read_at = self._clock()

    def restored(self) -> None:
        self._ready = True
        self._restoring_since = None

    @property
    def restoring_for_seconds(self) -> float | None:
        """How long the recovery that runs has taken; None when none runs."""
        return None if self._restoring_since is None else self._clock() - self._restoring_since

    def health(self) -> Health:
        """Alive until something stands still that should move; ready once all state is restored."""
        now = self._clock()
        if self._restoring_since is not None:
            quiet = now - self._read_at
            if quiet > self._stall_seconds:
                return Health(False, False, f"recovery has read nothing for {quiet:.0f} s")
            return Health(True, False, "restoring state from the changelog")
        for partition, held in sorted(self._held.items()):
            still = now - held.moved_at
            if held.progress.lag_records > 0 and still > self._stall_seconds:
                return Health(
                    False, False, f"partition {partition} has not moved for {still:.0f} s"
                )
        if not self._ready:
            return Health(True, False, "waiting for the consumer group to assign partitions")
        return Health(True, True, f"serving {len(self._held)} partitions")

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        now = self._clock()
        families = {
            name: GaugeMetricFamily(name, documentation, labels=["partition"])
            for name, documentation in DOCUMENTATION.items()
        }
        calibration = GaugeMetricFamily(
            "clickahead_calibration_scores",
            "Scores that a detector compares with; below 10 / flag budget it flags nothing.",
            labels=["partition", "kind"],
        )
        route = InfoMetricFamily(
            "clickahead_route",
            "The model version that answers a partition, and the one that is watched beside it.",
            labels=["partition", "arm"],
        )
        for partition, held in sorted(self._held.items()):
            label, store = str(partition), held.progress.store
            for arm, version in (("live", store.record.live), ("shadow", store.record.shadow)):
                if version is not None:
                    route.add_metric([label, arm], {"version": version})
            for name, value in _values(held, store, now):
                families[name].add_metric([label], value)
            for kind, reservoir in store.reservoirs.items():
                calibration.add_metric([label, kind], len(reservoir))
        yield from families.values()
        yield calibration
        yield route


DOCUMENTATION = {
    "clickahead_consumer_lag_records": "Committed input records that are not processed yet.",
    "clickahead_consumer_lag_seconds": "Age of the oldest input record that is not processed yet.",
    "clickahead_next_offset": "Input offset behind the last record that is processed for good.",
    "clickahead_watermark_lag_seconds": "Wall clock minus the event-time watermark.",
    "clickahead_state_users": "Users with state.",
    "clickahead_state_bytes": "Packed bytes of the users' state, as the changelog holds it.",
    "clickahead_alerts_open": "Users with an open anomaly alert.",
    "clickahead_control_offset": "Orders of clickahead.control below this offset are applied.",
    "clickahead_items_offset": "Records of clickahead.items below this offset are applied.",
    "clickahead_degraded_level": "What overload leaves out: 0 nothing, 3 the most.",
}


def _values(held: Held, store: PartitionStore, now: float) -> Iterator[tuple[str, float]]:
    progress = held.progress
    yield "clickahead_consumer_lag_records", progress.lag_records
    yield "clickahead_consumer_lag_seconds", held.lag_seconds(now)
    yield "clickahead_next_offset", progress.next_offset
    if store.watermark_ms >= 0:
        yield "clickahead_watermark_lag_seconds", now - store.watermark_ms / 1000
    yield "clickahead_state_users", store.users
    yield "clickahead_state_bytes", store.state_bytes
    yield "clickahead_alerts_open", open_alerts(store)
    yield "clickahead_control_offset", store.record.as_of
    yield "clickahead_items_offset", store.record.items_as_of
    yield "clickahead_degraded_level", store.record.degraded


def open_alerts(store: PartitionStore) -> int:
    """Users of a partition with an open alert."""
    column = store.columns
    live = column["sessions_total"] > 0
    return int(np.count_nonzero(live & (column["alert_offset"] >= 0)))
