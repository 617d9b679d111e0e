"""What a restore and the files of the state leave in the counters."""

from typing import get_args

import pytest

from stream_app.kafka.observer import Restored, SnapshotOutcome, Snapshotted
from tests.watched_worker import Worker


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_files_of_the_state_are_counted_by_what_became_of_them(worker: Worker) -> None:
    for outcome in get_args(SnapshotOutcome):
        assert worker.value("state_files_total", outcome=outcome) == 0
    worker.metrics.snapshot(Snapshotted(0, "written", records=10, bytes=1_000, seconds=0.5))
    worker.metrics.snapshot(Snapshotted(1, "failed"))
    worker.metrics.snapshot(Snapshotted(1, "restored", records=10, bytes=1_000, seconds=9.0))
    assert worker.value("state_files_total", outcome="written") == 1
    assert worker.value("state_files_total", outcome="failed") == 1
    assert worker.value("state_files_total", outcome="refused") == 0
    assert worker.value("state_file_seconds") == 0.5
    assert worker.value("state_file_bytes_total") == 1_000


def test_recovery_is_seen_from_its_start_to_its_end(worker: Worker) -> None:
    worker.metrics.rebalanced([0])
    worker.metrics.restoring(200, 1000)
    assert worker.value("recovering") == 1
    assert worker.value("recovery_remaining_records") == 800
    worker.metrics.restored(Restored(1, 0, 990, 12_345, 3.5))
    assert worker.value("recovering") == 0
    assert worker.value("recovery_remaining_records") == 0
    assert worker.value("recovery_restored_records_total") == 990
    assert worker.value("recovery_restored_bytes_total") == 12_345
    assert worker.value("recovery_seconds") == 3.5
    assert worker.value("rebalances_total") == 1
