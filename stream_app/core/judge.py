"""Verdicts: from a score to a p-value, to an alert's phases, to the records that announce them."""

from collections.abc import Callable, Sequence
from math import exp
from typing import Literal, NamedTuple

from model.spec import CLOSE, Engine
from stream_app.core import alerts
from stream_app.core.alerts import NO_ALERT, Alert, Phase
from stream_app.core.batch import EventBatch
from stream_app.core.entries import Eviction, SessionEnd, Steps
from stream_app.core.events import (
    AlertKind,
    AlertReason,
    Alternative,
    Anomaly,
    Source,
    Verdict,
)
from stream_app.core.memory import likeliest_actions
from stream_app.core.results import Results
from stream_app.core.store import PartitionStore

# A part of the surprise below this share explains nothing.
_REASON_SHARE = 0.2


class Happening(NamedTuple):
    """What a verdict is about: an input record, or the end of something."""

    batch_row: int
    pseudonym: bytes
    event_id: str
    source: Source
    at_ms: int


Announce = Callable[[int, Anomaly], None]


class Judge:
    """Pass 3's anomaly side for one part of a batch; calls ``announce(batch row, anomaly)``."""

    def __init__(
        self,
        batch: EventBatch,
        store: PartitionStore,
        engine: Engine,
        steps: Steps,
        results: Results,
        announce: Announce,
        *,
        explains: bool = True,
    ) -> None:
        self._batch, self._store, self._engine = batch, store, engine
        self._explains = explains
        self._steps, self._results, self._announce = steps, results, announce
        self._scores: list[float] = results.score.tolist()

    def step(self, k: int, where: Happening) -> Verdict:
        """The verdict on step ``k``; moves its user's alert and the reservoir."""
        score, row = self._scores[k], self._steps.row[k]
        reservoir, config = self._store.reservoirs["surprise"], self._store.config
        if self._steps.fallback[k]:
            return Verdict("uncalibrated", round(score, 4))
        offset = where.source.offset
        if not alerts.calibrated(len(reservoir), config.alert_rate):
            reservoir.learn(score, offset)
            return Verdict("uncalibrated", round(score, 4))
        alert = self._store.alert(row)
        p_value = reservoir.p_value(score)
        moved, phase = alerts.judge(alert, p_value, score, where.at_ms, offset, config)
        if phase is not None:
            is_explained = self._explains and phase != "close"
            reasons = self._reasons(k) if is_explained else []
            self._publish("surprise", phase, moved, where, p_value, reasons)
        if not alert.is_open:
            # Scores under an open alert repeat its peak; an attack must not become the norm.
            reservoir.learn(score, offset)
        kept = NO_ALERT if phase == "close" else moved
        if kept is not alert:
            self._store.set_alert(row, kept)
        state: Literal["anomalous", "normal"]
        state = "anomalous" if p_value <= config.alert_rate else "normal"
        return Verdict(state, round(score, 4), round(p_value, 6))

    def correction(self, k: int) -> Verdict:
        """The verdict on the newest event behind late step ``k``, anew. It is only told: that event
        has had its alert, and its score was learned."""
        score = self._scores[self._results.left_by(k)]
        reservoir, rate = self._store.reservoirs["surprise"], self._store.config.alert_rate
        if self._steps.fallback[k] or not alerts.calibrated(len(reservoir), rate):
            return Verdict("uncalibrated", round(score, 4))
        p_value = reservoir.p_value(score)
        state: Literal["anomalous", "normal"] = "anomalous" if p_value <= rate else "normal"
        return Verdict(state, round(score, 4), round(p_value, 6))

    def session_end(self, end: SessionEnd) -> None:
        """Score a session's close, since what is missing shows only there, and end its alert."""
        where = self._place("close", end.batch_row, end.pseudonym, end.offset, end.at_ms)
        self._score_close(end, where)
        alert = self._store.alert(end.row)
        if alert.is_open:
            self._close(alert, where)
            self._store.set_alert(end.row, NO_ALERT)

    def eviction(self, gone: Eviction) -> None:
        """End everything that is open of a user who leaves the state."""
        where = self._place("evict", gone.batch_row, gone.pseudonym, gone.offset, gone.at_ms)
        if gone.session is not None:
            self._score_close(gone.session, where)
        if gone.alert.is_open:
            self._close(gone.alert, where)

    def _place(
        self, what: str, batch_row: int, pseudonym: bytes, offset: int, at_ms: int
    ) -> Happening:
        """Name something that no input record is: by what it is and the user's last record."""
        source = Source(self._batch.topic, self._batch.partition, offset)
        event_id = f"{what}-{source.topic}-{source.partition}-{offset}"
        return Happening(batch_row, pseudonym, event_id, source, at_ms)

    def _score_close(self, end: SessionEnd, where: Happening) -> None:
        store = self._store
        if end.fallback:
            return
        surprise = end.surprise
        if end.previous >= 0:
            surprise = float(self._results.close_surprise[self._results.left_by(end.previous)])
        reservoir, rate = store.reservoirs["session_close"], store.config.alert_rate
        p_value = reservoir.p_value(surprise)
        if alerts.calibrated(len(reservoir), rate) and p_value <= rate:
            alert = Alert(end.at_ms, end.offset, 1, 0, 0, surprise)
            reasons = [self._close_reason(end, surprise)] if self._explains else []
            self._publish("session_close", "open", alert, where, p_value, reasons)
            self._publish("session_close", "close", alert, where, p_value, [])
        reservoir.learn(surprise, end.offset)

    def _close(self, alert: Alert, where: Happening) -> None:
        p_value = self._store.reservoirs["surprise"].p_value(alert.peak)
        self._publish("surprise", "close", alert, where, p_value, [])

    def _publish(
        self,
        kind: AlertKind,
        phase: Phase,
        alert: Alert,
        where: Happening,
        p_value: float,
        reasons: list[AlertReason],
    ) -> None:
        topic, partition = self._batch.topic, self._batch.partition
        anomaly = Anomaly(
            alert_id=alerts.alert_id(kind, where.pseudonym, topic, partition, alert.offset),
            user=where.pseudonym.hex(),
            kind=kind,
            phase=phase,
            event_id=where.event_id,
            source=where.source,
            at_ms=where.at_ms,
            opened_ms=alert.opened_ms,
            events=alert.events,
            score=round(alert.peak, 4),
            p_value=round(p_value, 6),
            calibration=len(self._store.reservoirs[kind]),
            threshold=self._store.config.alert_rate,
            model=self._engine.version,
            reasons=reasons,
        )
        self._announce(where.batch_row, anomaly)

    def _reasons(self, k: int) -> list[AlertReason]:
        """The parts of a step's surprise that matter, the larger one first."""
        results, click = self._results, self._steps.click[k]
        item, action = float(results.item_surprise[k]), float(results.action_surprise[k])
        names, items = self._engine.spec.actions, self._engine.vocabulary.items
        found = []
        if click.item_id is not None and item > 0:
            expected = _alternatives(
                results.expected_item[k].tolist(), results.expected_item_logp[k].tolist(), items
            )
            found.append((item, AlertReason("item", click.item_id, probability(-item), expected)))
        expected = _alternatives(
            results.expected_action[k].tolist(), results.expected_action_logp[k].tolist(), names
        )
        observed = names[self._steps.action[k]]
        found.append((action, AlertReason("action", observed, probability(-action), expected)))
        found.sort(key=lambda pair: -pair[0])
        return [reason for part, reason in found if part >= _REASON_SHARE * (item + action)]

    def _close_reason(self, end: SessionEnd, surprise: float) -> AlertReason:
        codes, logps = end.expected.actions, end.expected.logps
        if end.previous >= 0:
            left = self._results.left_by(end.previous)
            row = self._results.action_logp[left : left + 1]
            codes = likeliest_actions(row)[0].tolist()
            logps = row[0].astype("float16")[codes].tolist()
        names = self._engine.spec.actions
        pairs = [(c, p) for c, p in zip(codes, logps, strict=True) if c != CLOSE]
        expected = _alternatives([c for c, _ in pairs], [p for _, p in pairs], names)
        return AlertReason("session_close", names[CLOSE], probability(-surprise), expected)


def probability(logp: float) -> float:
    """A log-probability as six decimals between 0 and 1."""
    return round(min(exp(logp), 1.0), 6)


def _alternatives(
    codes: Sequence[int], logps: Sequence[float], names: Sequence[str]
) -> list[Alternative]:
    pairs = zip(codes, logps, strict=True)
    return [
        Alternative(names[code], probability(logp))
        for code, logp in pairs
        if 0 <= code < len(names)
    ]
