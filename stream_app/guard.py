"""Whether the model that was promoted serves worse than the one before it. Pure.

Two numbers are compared, each over the events after a promotion and over those before it: live
recall (the next click is a free label) and the 99th percentile of the time to a prediction. A bound
alone would fire on noise, so a drop in recall has to be significant as well, and the percentiles
are compared by the edges of their buckets, whichever are kinder to the new model.
"""

from dataclasses import dataclass, field, replace
from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Bucket edges in milliseconds, each a quarter above the one before: 1 ms to 3 minutes.
EDGES_MS: npt.NDArray[np.float64] = np.power(1.25, np.arange(55), dtype=np.float64)
QUANTILE = 0.99
SIGNIFICANT = 3.0
"""Standard errors. Chance alone takes a drop for one this large once in 740 looks."""


@dataclass(frozen=True)
class GuardConfig:
    """Bounds relative to the model before; events are those whose prediction could be judged."""

    enabled: bool = True
    recall_ratio: float = 0.8
    """Recall below this share of the one before is a breach."""
    latency_ratio: float = 3.0
    """A 99th percentile above this multiple of the one before is a breach."""
    latency_floor_ms: float = 100.0
    """A percentile that is no larger is none, whatever it was before."""
    min_events: int = 2_000
    """Judged events, before and after, that a comparison needs."""
    watched_events: int = 50_000
    """Judged events after which a promotion has stood the test."""
    settle_events: int = 500
    """Judged events after a promotion that count for nothing: memories are made anew in them."""


@dataclass(frozen=True)
class Tally:
    """What was seen of one model version."""

    judged: float = 0
    hits: float = 0
    latencies: npt.NDArray[np.float64] = field(
        default_factory=lambda: np.zeros(len(EDGES_MS) + 1)
    )  # [55 + 1] events by bucket of EDGES_MS, the last one open

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.judged + other.judged, self.hits + other.hits, self.latencies + other.latencies
        )

    def faded(self, share: float) -> "Tally":
        return Tally(self.judged * share, self.hits * share, self.latencies * share)

    @property
    def recall(self) -> float:
        return self.hits / self.judged if self.judged else 0.0

    def bucket(self, quantile: float) -> int:
        """Number of the bucket that holds a quantile of the latencies."""
        reached = np.cumsum(self.latencies)  # [56]
        return int(np.searchsorted(reached, quantile * reached[-1]))


def tally(judged: int, hits: int, latencies_ms: npt.NDArray[np.float64]) -> Tally:
    """A micro-batch: judged predictions, hits among them, and times to a prediction [N]."""
    buckets = np.searchsorted(EDGES_MS, latencies_ms)  # [N]
    counts = np.bincount(buckets, minlength=len(EDGES_MS) + 1).astype(np.float64)  # [56]
    return Tally(judged, hits, counts)


class Breach(NamedTuple):
    """A promotion that should be taken back."""

    model: str
    before: str
    what: str  # recall or latency
    sentence: str


@dataclass(frozen=True)
class Guard:
    """What one worker has seen; ``noted`` makes the next."""

    live: str = ""
    seen: Tally = field(default_factory=Tally)
    """Of the live model; old events fade, so that it says how the model serves now."""
    before: str = ""
    baseline: Tally | None = None
    """Of the model before, while the live one is watched."""
    settling: float = 0
    strays: float = 0
    """Judged events of the model before since the last one of the live model."""


def noted(guard: Guard, model: str, more: Tally, config: GuardConfig) -> Guard:
    """The guard after one more micro-batch, in which ``model`` answered.

    Partitions change models one by one: batches of the model before that still come are left out,
    and so is a model that comes back, for what it is compared with was just given up.
    """
    if not guard.live:
        return Guard(model, more)
    if model == guard.live:
        return _went_on(guard, more, config)
    strays = guard.strays + more.judged
    if model == guard.before and guard.baseline is not None and strays < config.min_events:
        return replace(guard, strays=strays)
    if model == guard.before:
        return Guard(model, more, guard.live)
    can_compare = guard.seen.judged >= config.min_events
    return Guard(model, Tally(), guard.live, guard.seen if can_compare else None)


def _went_on(guard: Guard, more: Tally, config: GuardConfig) -> Guard:
    guard = replace(guard, strays=0)
    if guard.baseline is None:
        fading = config.watched_events
        share = max(0.0, 1.0 - more.judged / fading)
        return replace(guard, seen=guard.seen.faded(share) + more)
    if guard.settling < config.settle_events:
        return replace(guard, settling=guard.settling + more.judged)
    watched = replace(guard, seen=guard.seen + more)
    if watched.seen.judged >= config.watched_events:
        return replace(watched, baseline=None)
    return watched


def breach(guard: Guard, config: GuardConfig) -> Breach | None:
    """What the live model does worse than it may, None while nothing is proved."""
    baseline, seen = guard.baseline, guard.seen
    if not config.enabled or baseline is None or seen.judged < config.min_events:
        return None
    said = _recall_breach(baseline, seen, config)
    if said is not None:
        return Breach(guard.live, guard.before, "recall", said)
    said = _latency_breach(baseline, seen, config)
    return None if said is None else Breach(guard.live, guard.before, "latency", said)


def _recall_breach(before: Tally, now: Tally, config: GuardConfig) -> str | None:
    bound = config.recall_ratio * before.recall
    variance = now.recall * (1 - now.recall) / now.judged
    variance += config.recall_ratio**2 * before.recall * (1 - before.recall) / before.judged
    if bound - now.recall <= SIGNIFICANT * sqrt(variance):
        return None
    return (
        f"live recall fell from {before.recall:.3f} to {now.recall:.3f} over {now.judged:.0f}"
        f" events; the bound is {bound:.3f}"
    )


def _latency_breach(before: Tally, now: Tally, config: GuardConfig) -> str | None:
    if not before.latencies.any() or not now.latencies.any():
        return None
    was_ms = EDGES_MS[min(before.bucket(QUANTILE), len(EDGES_MS) - 1)]
    bucket = now.bucket(QUANTILE)
    is_ms = EDGES_MS[bucket - 1] if bucket else 0.0
    if is_ms <= max(config.latency_ratio * was_ms, config.latency_floor_ms):
        return None
    return (
        f"99 % of the predictions took up to {is_ms:.0f} ms, {was_ms:.0f} ms before; the bound is"
        f" {max(config.latency_ratio * was_ms, config.latency_floor_ms):.0f} ms"
    )
