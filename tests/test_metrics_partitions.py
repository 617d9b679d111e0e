import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.batch import Route
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from stream_app.kafka.observer import Progress
from stream_app.metrics_partitions import PartitionGauges, open_alerts
from tests.core.streams import CONFIG, event_batch, records
from tests.watched_worker import Clock

STALL_SECONDS = 60.0


class Watched:
    """Gauges, their clock, and an empty store."""

    def __init__(self, engine: OnnxEngine) -> None:
        self.clock = Clock()
        self.gauges = PartitionGauges(self.clock, STALL_SECONDS)
        self.store = PartitionStore(0, engine, CONFIG)

    def report(self, partition: int, offset: int, lag: int, seconds: float = 0.0) -> None:
        self.gauges.reported(Progress(partition, self.store, offset, lag, seconds))

    def serve(self) -> None:
        self.gauges.rebalanced()
        self.gauges.restored()

    def value(self, name: str, partition: int) -> float | None:
        for family in self.gauges.collect():
            for sample in family.samples:
                if sample.name == name and sample.labels["partition"] == str(partition):
                    return sample.value
        return None


@pytest.fixture
def watched(tiny_engine: OnnxEngine) -> Watched:
    return Watched(tiny_engine)


def lag_seconds(watched: Watched) -> float | None:
    return watched.value("clickahead_consumer_lag_seconds", 0)


def test_lag_is_what_the_shell_says_while_the_offset_moves(watched: Watched) -> None:
    for second in range(90):
        watched.clock.now += 1
        watched.report(0, offset=second, lag=5, seconds=0.25)
    assert lag_seconds(watched) == 0.25


def test_records_that_are_never_fetched_grow_old_all_the_same(watched: Watched) -> None:
    watched.report(0, offset=10, lag=0)
    watched.clock.now += 5
    for _ in range(31):
        watched.report(0, offset=10, lag=5, seconds=0.0)
        watched.clock.now += 1
    assert lag_seconds(watched) == pytest.approx(36)


def test_without_records_that_wait_there_is_no_lag(watched: Watched) -> None:
    watched.report(0, offset=10, lag=0)
    watched.clock.now += 3600
    watched.report(0, offset=10, lag=0)
    assert lag_seconds(watched) == 0


def test_the_series_of_a_partition_go_with_it(watched: Watched) -> None:
    watched.report(0, offset=1, lag=0)
    watched.report(1, offset=1, lag=0)
    watched.gauges.rebalanced()
    watched.gauges.restored()
    watched.report(1, offset=1, lag=0)
    assert watched.value("clickahead_state_users", 0) is None
    assert watched.value("clickahead_state_users", 1) == 0


def test_the_watermark_lag_begins_with_the_first_event(
    watched: Watched, tiny_engine: OnnxEngine
) -> None:
    watched.report(0, offset=0, lag=0)
    assert watched.value("clickahead_watermark_lag_seconds", 0) is None
    at_ms = int((watched.clock.now - 90) * 1000)
    click = json.dumps({"user_id": "u1", "item_id": "i1", "timestamp": at_ms}).encode()
    engines = {tiny_engine.version: tiny_engine}
    play(event_batch([click]), watched.store, engines, Route(tiny_engine.version))
    assert watched.value("clickahead_watermark_lag_seconds", 0) == pytest.approx(90)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=st.lists(records(), min_size=1, max_size=80))
def test_open_alerts_are_those_of_the_users_who_are_there(
    values: list[bytes | None], tiny_engine: OnnxEngine
) -> None:
    store = PartitionStore(0, tiny_engine, CONFIG)
    play(event_batch(values), store, {tiny_engine.version: tiny_engine}, Route(tiny_engine.version))
    assert open_alerts(store) == sum(store.alert(row).is_open for row in store.occupied().tolist())


# --- health


def test_a_worker_without_partitions_is_alive_and_not_ready(watched: Watched) -> None:
    assert watched.gauges.health()[:2] == (True, False)


def test_a_worker_is_ready_when_its_state_is_restored_and_not_again_after_a_rebalance(
    watched: Watched,
) -> None:
    watched.gauges.rebalanced()
    assert watched.gauges.health() == (True, False, "restoring state from the changelog")
    watched.gauges.restored()
    watched.report(0, offset=0, lag=0)
    assert watched.gauges.health() == (True, True, "serving 1 partitions")
    watched.gauges.rebalanced()
    assert watched.gauges.health()[:2] == (True, False)


def test_a_spare_worker_without_partitions_is_ready(watched: Watched) -> None:
    watched.serve()
    assert watched.gauges.health()[:2] == (True, True)


def test_a_long_recovery_is_alive_and_one_that_stands_still_is_not(watched: Watched) -> None:
    watched.gauges.rebalanced()
    for _ in range(100):
        watched.clock.now += STALL_SECONDS
        watched.gauges.restoring()
        assert watched.gauges.health().alive
    assert watched.gauges.restoring_for_seconds == 100 * STALL_SECONDS
    watched.clock.now += STALL_SECONDS + 1
    assert watched.gauges.health() == (False, False, "recovery has read nothing for 61 s")


def test_a_partition_that_stands_still_with_records_waiting_is_not_alive(watched: Watched) -> None:
    watched.serve()
    watched.report(0, offset=5, lag=0)
    watched.report(1, offset=7, lag=2)
    watched.clock.now += STALL_SECONDS + 1
    assert watched.gauges.health() == (False, False, "partition 1 has not moved for 61 s")
    watched.report(1, offset=8, lag=1)
    assert watched.gauges.health().alive


def test_an_idle_partition_stays_alive(watched: Watched) -> None:
    watched.serve()
    for _ in range(10):
        watched.report(0, offset=5, lag=0)
        watched.clock.now += STALL_SECONDS
    assert watched.gauges.health()[:2] == (True, True)
