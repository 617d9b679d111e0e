"""What an operator can see of orders, of the models' quality, and of what was made anew."""

from prometheus_client import CollectorRegistry, Counter

from stream_app.core.batch import OutputBatch, RecallSums, ShadowSums
from stream_app.metrics_counters import counters
from stream_app.orders import CONTROL, ITEMS

ROLES = (CONTROL, ITEMS)
BREACHES = ("recall", "latency")

SHADOW_SUMS = {
    "steps": ("clickahead_shadow_steps", "Events that the shadow model was asked about."),
    "divergence": (
        "clickahead_shadow_divergence_nats",
        "Sum over those events of KL(live || shadow) of the next action.",
    ),
    "overlap": (
        "clickahead_shadow_overlap",
        "Sum over those events of the share of the live top-K that the shadow names, too.",
    ),
    "judged": (
        "clickahead_shadow_judged",
        "Events whose item both models had a chance to name before.",
    ),
    "live_hits": ("clickahead_shadow_live_hits", "Of those, named by the live model."),
    "shadow_hits": ("clickahead_shadow_hits", "Of those, named by the shadow model."),
}
"""Fields of ShadowSums, each with the counter that it is added to."""


class SteeringMetrics:
    """Counters that micro-batches, side inputs and the guard add to."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refused = counters(
            registry,
            "clickahead_refused_orders",
            "Records of a side input that cannot be read or applied, or name a missing model.",
            "topic",
            ROLES,
        )
        self._rolled_back = counters(
            registry,
            "clickahead_guard_rollbacks",
            "Promotions that this worker's guard took back, by what the model did worse.",
            "what",
            BREACHES,
        )
        self._quality(registry)
        self._shadow = {
            field: Counter(name, documentation, registry=registry)
            for field, (name, documentation) in SHADOW_SUMS.items()
        }
        self._shadow_failures = Counter(
            "clickahead_shadow_failures",
            "Micro-batches in which the shadow model gave up; the live one is not touched by it.",
            registry=registry,
        )

    def _quality(self, registry: CollectorRegistry) -> None:
        self._judged = Counter(
            "clickahead_recall_judged",
            "Events whose item the live model had a chance to name before.",
            registry=registry,
        )
        self._hits = Counter(
            "clickahead_recall_hits",
            "Of those, events whose item was in the user's last top-K: live recall.",
            registry=registry,
        )
        self._corrections = Counter(
            "clickahead_corrections",
            "Predictions published anew because an event came late.",
            registry=registry,
        )
        self._erased = Counter(
            "clickahead_erased_users", "Users whose erasure was carried out.", registry=registry
        )
        self._rebuilt = Counter(
            "clickahead_rebuilt_memories",
            "Users whose memory was made anew under another model.",
            registry=registry,
        )

    def batch(self, outputs: OutputBatch) -> None:
        self._corrections.inc(outputs.corrections)
        self._erased.inc(outputs.erased)
        self._rebuilt.inc(outputs.rebuilt)
        recall: RecallSums | None = outputs.recall
        if recall is not None:
            self._judged.inc(recall.judged)
            self._hits.inc(recall.hits)
        shadow: ShadowSums | None = outputs.shadow
        if shadow is not None:
            for field, counter in self._shadow.items():
                # Rounding may leave a divergence of nothing a hair below it.
                counter.inc(max(0.0, getattr(shadow, field)))
            self._shadow_failures.inc(shadow.failed is not None)

    def refused(self, role: str, count: int) -> None:
        self._refused[role].inc(count)

    def rolled_back(self, what: str) -> None:
        self._rolled_back[what].inc()
