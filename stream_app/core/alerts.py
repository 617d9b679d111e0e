"""When an alert opens, rises and closes: rules on p-values with hysteresis, and nothing else."""

from hashlib import blake2b
from math import ceil
from typing import Literal, NamedTuple

from stream_app.core.config import CoreConfig

Phase = Literal["open", "raise", "close"]


class Alert(NamedTuple):
    """An open alert of one user; ``offset`` is that of the event that opened it, -1: none open."""

    opened_ms: int = 0
    offset: int = -1
    events: int = 0
    quiet: int = 0  # consecutive events above twice the rate
    severity: int = 0  # decades below the rate
    peak: float = 0.0  # nats

    @property
    def is_open(self) -> bool:
        return self.offset >= 0


NO_ALERT = Alert()


def fewest_scores(rate: float) -> int:
    """How many scores a reservoir needs to promise the rate q: 10/q."""
    return ceil(10 / rate)


def calibrated(scores: int, rate: float) -> bool:
    """Whether a reservoir of so many scores can promise the rate."""
    return scores >= fewest_scores(rate)


def judge(
    alert: Alert, p_value: float, score: float, at_ms: int, offset: int, config: CoreConfig
) -> tuple[Alert, Phase | None]:
    """The alert after one more calibrated event, and the phase to publish, if any."""
    rate = config.alert_rate
    severity = decades_below(p_value, rate)
    if not alert.is_open:
        if p_value > rate:
            return alert, None
        return Alert(at_ms, offset, 1, 0, severity, score), "open"
    quiet = alert.quiet + 1 if p_value > 2 * rate else 0
    events, peak = alert.events + 1, max(alert.peak, score)
    if quiet >= config.alert_close_after_events:
        return alert._replace(events=events, quiet=quiet, peak=peak), "close"
    rose = p_value <= rate and severity > alert.severity
    grown = alert._replace(
        events=events, quiet=quiet, peak=peak, severity=max(severity, alert.severity)
    )
    return grown, "raise" if rose else None


def decades_below(p_value: float, rate: float) -> int:
    """Whole powers of ten by which a p-value lies below the rate; 0 above it."""
    count = 0
    while p_value * 10 <= rate and count < 9:
        p_value *= 10
        count += 1
    return count


def alert_id(kind: str, pseudonym: bytes, topic: str, partition: int, offset: int) -> str:
    """The same alert has the same id in every replay: named by what opened it."""
    digest = blake2b(digest_size=12, person=b"clickahead-alert")
    digest.update(f"{kind}|{topic}|{partition}|{offset}|".encode() + pseudonym)
    return digest.hexdigest()
