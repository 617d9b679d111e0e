"""What the demo shows, counted from the topics: rates, latency, hits, the latest, what is open."""

from collections import OrderedDict, deque
from typing import NamedTuple

from stream_app.core.events import Anomaly, Prediction, RejectedRecord

RECENT = 2000
SHOWN = 6
MAX_USERS = 100_000


class Seen(NamedTuple):
    """An event as the input topic holds it, as far as the tally needs it."""

    item_id: str | None
    action: str
    appended_ms: int


class Figures(NamedTuple):
    """The numbers of one moment; None where there is nothing to measure yet."""

    events_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    hit_rate: float | None


class Tally:
    """Fed with records of the topics as they arrive, in the order of each partition."""

    def __init__(self, top_k: int = 20) -> None:
        self.predicted = self.rejected = self.fallbacks = 0
        self.latest: deque[tuple[Prediction, Seen]] = deque(maxlen=SHOWN)
        self.open_alerts: OrderedDict[str, Anomaly] = OrderedDict()
        self.alerts_opened = 0
        self.reasons: dict[str, int] = {}
        self._top_k = top_k
        self._events: dict[tuple[int, int], Seen] = {}
        self._early: dict[tuple[int, int], tuple[Prediction, float]] = {}
        self._foretold: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._hits: deque[bool] = deque(maxlen=RECENT)
        self._latencies_ms: deque[float] = deque(maxlen=RECENT)
        self._arrivals: deque[float] = deque(maxlen=RECENT)

    def event(self, partition: int, offset: int, seen: Seen) -> None:
        early = self._early.pop((partition, offset), None)
        if early is None:
            self._events[partition, offset] = seen
        else:
            self._match(early[0], seen, early[1])

    def prediction(self, prediction: Prediction, now_ms: float) -> None:
        """``now_ms``: wall clock at arrival, the same clock as the broker's append times.

        A correction counts as nothing of its own: it changes what the user's newest event foretold.
        """
        if prediction.revision > 0:
            self._foretell(prediction)
            return
        self.predicted += 1
        self.fallbacks += prediction.fallback is not None
        self._arrivals.append(now_ms)
        place = (prediction.source.partition, prediction.source.offset)
        seen = self._events.pop(place, None)
        if seen is None:
            self._early[place] = (prediction, now_ms)
        else:
            self._match(prediction, seen, now_ms)

    def anomaly(self, anomaly: Anomaly) -> None:
        if anomaly.phase == "close":
            self.open_alerts.pop(anomaly.alert_id, None)
            return
        self.alerts_opened += anomaly.phase == "open"
        self.open_alerts[anomaly.alert_id] = anomaly

    def refusal(self, record: RejectedRecord) -> None:
        self.rejected += 1
        self.reasons[record.reason] = self.reasons.get(record.reason, 0) + 1
        self._events.pop((record.partition, record.offset), None)

    def figures(self, now_ms: float) -> Figures:
        recent = [at for at in self._arrivals if at > now_ms - 5000]
        span_ms = max(now_ms - recent[0], 1.0) if recent else 1.0
        ordered = sorted(self._latencies_ms)
        return Figures(
            len(recent) * 1000 / max(span_ms, 1000.0),
            _quantile(ordered, 0.5),
            _quantile(ordered, 0.99),
            sum(self._hits) / len(self._hits) if self._hits else None,
        )

    def _match(self, prediction: Prediction, seen: Seen, now_ms: float) -> None:
        """Join a prediction with its event: its latency, and whether the user's prediction before
        it named the item."""
        self._latencies_ms.append(now_ms - seen.appended_ms)
        self.latest.append((prediction, seen))
        foretold = self._foretold.pop(prediction.user, None)
        if seen.item_id is not None and foretold is not None:
            self._hits.append(seen.item_id in foretold)
        self._foretell(prediction)

    def _foretell(self, prediction: Prediction) -> None:
        top = frozenset(item.item_id for item in prediction.items[: self._top_k])
        self._foretold[prediction.user] = top
        if len(self._foretold) > MAX_USERS:
            self._foretold.popitem(last=False)


def _quantile(ordered: list[float], share: float) -> float | None:
    if not ordered:
        return None
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
