from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.batch import OutputBatch, Route
from stream_app.core.events import ALERT_KINDS, OUTCOMES, REASONS
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from stream_app.kafka.observer import Done, Observer, Progress
from stream_app.metrics import FEW, PARTS, STAGES
from tests.core.streams import CONFIG, event_batch, records
from tests.watched_worker import Worker

CLICK = b'{"user_id":"u1","item_id":"i1","event_type":"view","timestamp":1700000000000}'
RELAXED = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def worker() -> Worker:
    return Worker()


def done(
    outputs: OutputBatch, timestamps_ms: Sequence[int] = (), *, done_ms: int = 0, oversized: int = 0
) -> Done:
    return Done(0, outputs, timestamps_ms, done_ms, dict.fromkeys(STAGES, 0.001), oversized)


def progress(
    store: PartitionStore, *, partition: int = 0, offset: int = 0, lag: int = 0, seconds: float = 0
) -> Progress:
    return Progress(partition, store, offset, lag, seconds)


def test_metrics_are_an_observer_of_the_shell(worker: Worker) -> None:
    observer: Observer = worker.metrics
    observer.rebalanced([0, 1])
    assert worker.value("assigned_partitions") == 2


@RELAXED
@given(values=st.lists(records(), max_size=60), cut=st.integers(0, 60))
def test_every_record_of_a_real_batch_has_one_outcome(
    values: list[bytes | None], cut: int, tiny_engine: OnnxEngine
) -> None:
    worker, store = Worker(), PartitionStore(0, tiny_engine, CONFIG)
    flags = closed = 0
    for start, part in ((0, values[:cut]), (len(values[:cut]), values[cut:])):
        stages: dict[str, float] = {"wait": 0.0, "commit": 0.0}
        outputs = play(
            event_batch(part, start),
            store,
            {tiny_engine.version: tiny_engine},
            Route(tiny_engine.version),
            lambda stage, into=stages: into.update({stage: 0.5}),  # type: ignore[misc]
        )
        worker.metrics.batch(Done(0, outputs, [0] * len(part), 1000, stages, 0))
        flags += sum(outputs.flags.values())
        closed += outputs.closed_sessions
    counted = {outcome: worker.value("events_total", outcome=outcome) for outcome in OUTCOMES}
    assert sum(v or 0 for v in counted.values()) == len(values)
    assert counted["rejected"] == sum(
        worker.value("rejected_total", reason=reason) or 0 for reason in REASONS
    )
    assert worker.value("judged_total", kind="surprise") == counted["predicted"]
    assert worker.value("judged_total", kind="session_close") == closed
    assert sum(worker.value("flags_total", kind=kind) or 0 for kind in ALERT_KINDS) == flags
    assert worker.value("event_to_prediction_seconds_count") == len(values)
    assert worker.value("batch_events_count") == 2
    assert worker.value("batch_events_sum") == len(values)
    assert worker.value("stage_seconds_count", stage="decode") == 2


@RELAXED
@given(values=st.lists(records(), min_size=1, max_size=40))
def test_no_input_makes_a_new_series(values: list[bytes | None], tiny_engine: OnnxEngine) -> None:
    worker, store = Worker(), PartitionStore(0, tiny_engine, CONFIG)
    worker.metrics.progress(progress(store))
    # A watermark before the first event would be a number without meaning, so it has no series.
    before = worker.series() + (worker.value("watermark_lag_seconds", partition="0") is None)
    outputs = play(
        event_batch(values), store, {tiny_engine.version: tiny_engine}, Route(tiny_engine.version)
    )
    worker.metrics.batch(done(outputs, [0] * len(values)))
    worker.metrics.progress(progress(store, lag=3))
    assert worker.series() - (store.watermark_ms < 0) <= before
    said = {
        value for m in worker.registry.collect() for s in m.samples for value in s.labels.values()
    }
    assert not said & {"u0", "u1", "i0", "i1", "e0", "e1"}


def test_latency_is_from_append_to_commit_and_leaves_out_unknown_times(worker: Worker) -> None:
    worker.metrics.batch(done(OutputBatch(), [1_000, -1, 1_900], done_ms=2_000))
    assert worker.value("event_to_prediction_seconds_count") == 2
    assert worker.value("event_to_prediction_seconds_sum") == pytest.approx(1.1)
    assert worker.value("event_to_prediction_seconds_bucket", le="0.25") == 1


@given(
    waits_ms=st.lists(
        st.tuples(st.booleans(), st.floats(0, 1e5), st.floats(0, 1e5)),
        min_size=1,
        max_size=2 * FEW,
    ),
    seconds=st.fixed_dictionaries({stage: st.floats(0, 10) for stage in STAGES}),
)
def test_the_parts_of_the_latency_are_the_whole_of_it(
    waits_ms: list[tuple[bool, float, float]], seconds: dict[str, float]
) -> None:
    worker, done_ms = Worker(), 1_700_000_000_000.0
    work_ms = 1_000 * (sum(seconds.values()) - seconds["wait"])
    received = [done_ms - work_ms - queued for _, _, queued in waits_ms]
    appended = [
        int(at - in_broker) if known else -1
        for (known, in_broker, _), at in zip(waits_ms, received, strict=True)
    ]
    worker.metrics.batch(
        Done(0, OutputBatch(), appended, done_ms, seconds, 0, received_ms=received)
    )
    whole = worker.value("event_to_prediction_seconds_sum")
    parts = {part: worker.value("latency_part_seconds_sum", part=part) or 0.0 for part in PARTS}
    assert sum(parts.values()) == pytest.approx(whole, abs=1e-3)
    known = sum(known for known, _, _ in waits_ms)
    assert parts["inference"] == pytest.approx(known * seconds["advance"])
    assert parts["produce"] == pytest.approx(known * seconds["commit"])
    for part in PARTS:
        assert worker.value("latency_part_seconds_count", part=part) == known


def test_a_stage_that_nobody_knows_opens_no_series(worker: Worker) -> None:
    before = worker.series()
    worker.metrics.batch(Done(0, OutputBatch(), [0], 0, {"brewing": 0.5, "commit": 0.25}, 0))
    assert worker.series() == before
    assert worker.value("stage_seconds_sum", stage="other") == 0.5
    assert worker.value("stage_seconds_sum", stage="commit") == 0.25


def test_fallbacks_and_stubs_are_counted(worker: Worker) -> None:
    worker.metrics.batch(done(OutputBatch(fallbacks=4), [0], oversized=2))
    assert worker.value("fallbacks_total") == 4
    assert worker.value("oversized_outputs_total") == 2


def test_counters_stand_at_zero_from_the_start(worker: Worker) -> None:
    for outcome in OUTCOMES:
        assert worker.value("events_total", outcome=outcome) == 0
    for reason in REASONS:
        assert worker.value("rejected_total", reason=reason) == 0
    for stage in STAGES:
        assert worker.value("stage_seconds_count", stage=stage) == 0


def test_a_partitions_gauges_are_those_of_its_store(
    worker: Worker, tiny_engine: OnnxEngine
) -> None:
    store = PartitionStore(3, tiny_engine, CONFIG)
    play(
        event_batch([CLICK]), store, {tiny_engine.version: tiny_engine}, Route(tiny_engine.version)
    )
    worker.metrics.progress(progress(store, partition=3, offset=1, lag=7, seconds=2.5))
    assert worker.value("state_users", partition="3") == store.users == 1
    assert worker.value("state_bytes", partition="3") == store.state_bytes > 0
    assert worker.value("next_offset", partition="3") == 1
    assert worker.value("consumer_lag_records", partition="3") == 7
    assert worker.value("consumer_lag_seconds", partition="3") == 2.5
    assert worker.value("calibration_scores", partition="3", kind="surprise") == len(
        store.reservoirs["surprise"]
    )


def test_the_model_and_the_worker_name_themselves(worker: Worker) -> None:
    assert worker.value("worker_info", version="1.2.3", delivery="exactly_once") == 1
    assert worker.value("model_info", model="gru", version="0123456789abcdef") == 1
    assert worker.value("model_trained_timestamp_seconds", model="gru") == 1_600_000_000
    assert worker.value("flag_budget_ratio") == 0.001


def test_a_model_without_a_date_has_no_age() -> None:
    worker = Worker(trained_at=None)
    assert worker.value("model_trained_timestamp_seconds", model="gru") is None


def test_the_process_and_its_garbage_collector_are_seen(worker: Worker) -> None:
    names = {metric.name for metric in worker.registry.collect()}
    assert {"process_resident_memory_bytes", "python_gc_collections", "python_info"} <= names


def test_a_scan_that_is_looked_at_tells_its_recall() -> None:
    assert Worker(recall=0.985).value("scan_recall_ratio") == 0.985
    assert Worker().value("scan_recall_ratio") is None


def test_what_the_models_took_is_told(worker: Worker) -> None:
    assert worker.value("inference_cpu_seconds_total") == 2.5
