"""What an operator can see of assignments, restores and the state's files."""

from collections.abc import Callable
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from stream_app.kafka.observer import Restored, SnapshotOutcome, Snapshotted
from stream_app.metrics_counters import counters


class RecoveryMetrics:
    """Instruments of what happens around the flow of events."""

    def __init__(self, registry: CollectorRegistry, is_restoring: Callable[[], bool]) -> None:
        self._rebalances = Counter(
            "clickahead_rebalances",
            "Assignments that this worker got from the consumer group.",
            registry=registry,
        )
        self._assigned = Gauge(
            "clickahead_assigned_partitions",
            "Input partitions that the group gave to this worker.",
            registry=registry,
        )
        Gauge(
            "clickahead_recovering",
            "1 while state is restored from the changelog and nothing is predicted.",
            registry=registry,
        ).set_function(lambda: float(is_restoring()))
        self._remaining = Gauge(
            "clickahead_recovery_remaining_records",
            "Changelog offsets that the recovery that runs still has to read.",
            registry=registry,
        )
        self._restores(registry)
        self._files(registry)

    def _restores(self, registry: CollectorRegistry) -> None:
        self._restored_records = Counter(
            "clickahead_recovery_restored_records",
            "Changelog records that were applied in recoveries.",
            registry=registry,
        )
        self._restored_bytes = Counter(
            "clickahead_recovery_restored_bytes",
            "Bytes of those changelog records.",
            registry=registry,
        )
        self._restored_seconds = Gauge(
            "clickahead_recovery_seconds",
            "How long the last recovery that ended took.",
            registry=registry,
        )

    def _files(self, registry: CollectorRegistry) -> None:
        self._snapshots = counters(
            registry,
            "clickahead_state_files",
            "Files of the state that were written or read, refused, or could not be written.",
            "outcome",
            get_args(SnapshotOutcome),
        )
        self._snapshot_seconds = Gauge(
            "clickahead_state_file_seconds",
            "How long the last file of the state took to write.",
            registry=registry,
        )
        self._snapshot_bytes = Counter(
            "clickahead_state_file_bytes",
            "Bytes of the files of the state that were written.",
            registry=registry,
        )

    def rebalanced(self, partitions: int) -> None:
        self._rebalances.inc()
        self._assigned.set(partitions)
        self._remaining.set(0)

    def restoring(self, read: int, total: int) -> None:
        self._remaining.set(total - read)

    def restored(self, restored: Restored) -> None:
        self._remaining.set(0)
        self._restored_records.inc(restored.records)
        self._restored_bytes.inc(restored.bytes)
        self._restored_seconds.set(restored.seconds)

    def snapshot(self, snapshot: Snapshotted) -> None:
        self._snapshots[snapshot.outcome].inc()
        if snapshot.outcome == "written":
            self._snapshot_seconds.set(snapshot.seconds)
            self._snapshot_bytes.inc(snapshot.bytes)
