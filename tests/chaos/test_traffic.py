from model.engine import OnnxEngine
from stream_app.core.config import CoreConfig
from stream_app.replay import Replay, from_files
from tests.chaos.schedule import plan
from tests.chaos.traffic import traffic

CONFIG = CoreConfig(
    pseudonym_key=b"0123456789abcdef", alert_rate=0.3, reservoir_size=512,
    max_users_per_partition=80,
)  # fmt: skip


def test_traffic_is_a_function_of_the_seed() -> None:
    assert traffic(plan(3, 5, 1), 500) == traffic(plan(3, 5, 1), 500)
    assert traffic(plan(3, 5, 1), 500) != traffic(plan(4, 5, 1), 500)


def test_traffic_reaches_what_can_go_wrong(tiny_engine: OnnxEngine) -> None:
    """Every outcome, many reasons, alerts, closed sessions and evictions: what is compared after
    the kills is not all alike."""
    events = traffic(plan(1, 10, 1), 1_000)
    replay = Replay("events", tiny_engine, CONFIG)
    arrived_ms = 1_790_000_000_000
    records = [r._replace(received_ms=arrived_ms) for r in from_files(iter(events), 4)]
    outputs = replay.feed(records)
    totals = replay.totals
    assert totals.is_conserved
    assert totals.outcomes["predicted"] > 7_000
    assert totals.outcomes["duplicate"] > 50
    assert totals.reject_reasons["late"] > 20
    assert totals.reject_reasons["future"] > 20
    assert len(totals.reject_reasons) > 5
    assert totals.closed_sessions > 100
    assert len(outputs["anomalies"]) > 100
    assert all(store.users == 80 for store in replay.stores.values())
