"""What micro-batches, orders and the guard leave in the counters."""

from prometheus_client import CollectorRegistry

from stream_app.core.batch import OutputBatch, RecallSums, Record, ShadowSums
from stream_app.metrics_steering import BREACHES, ROLES, SHADOW_SUMS, SteeringMetrics


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"clickahead_{name}", labels)


def test_counters_stand_at_zero_from_the_start() -> None:
    registry = CollectorRegistry()
    SteeringMetrics(registry)
    assert all(value(registry, "refused_orders_total", topic=role) == 0 for role in ROLES)
    assert all(value(registry, "guard_rollbacks_total", what=what) == 0 for what in BREACHES)
    assert value(registry, "recall_judged_total") == 0


def test_a_batch_adds_what_it_did() -> None:
    registry = CollectorRegistry()
    metrics = SteeringMetrics(registry)
    shadow = ShadowSums(
        steps=4, divergence=0.5, overlap=3.0, judged=3, live_hits=2, shadow_hits=1, failed="gone"
    )
    outputs = OutputBatch(
        predictions=[Record(0, b"k", b"{}")] * 5,
        corrections=1,
        erased=2,
        rebuilt=3,
        recall=RecallSums(judged=10, hits=4),
        shadow=shadow,
    )
    outputs.outcomes["predicted"] = 4
    metrics.batch(outputs)
    metrics.batch(OutputBatch())
    assert value(registry, "corrections_total") == 1
    assert value(registry, "erased_users_total") == 2
    assert value(registry, "rebuilt_memories_total") == 3
    assert value(registry, "recall_judged_total") == 10
    assert value(registry, "recall_hits_total") == 4
    for field, (name, _) in SHADOW_SUMS.items():
        assert registry.get_sample_value(f"{name}_total") == getattr(shadow, field)
    assert value(registry, "shadow_failures_total") == 1


def test_a_divergence_that_rounding_left_below_zero_ends_nothing() -> None:
    registry = CollectorRegistry()
    SteeringMetrics(registry).batch(OutputBatch(shadow=ShadowSums(steps=1, divergence=-1e-12)))
    assert value(registry, "shadow_divergence_nats_total") == 0


def test_orders_and_the_guard_are_counted() -> None:
    registry = CollectorRegistry()
    metrics = SteeringMetrics(registry)
    metrics.refused("control", 3)
    metrics.rolled_back("recall")
    assert value(registry, "refused_orders_total", topic="control") == 3
    assert value(registry, "guard_rollbacks_total", what="recall") == 1
