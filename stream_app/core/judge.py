"""Verdicts: from a score to a p-value, to an alert's phases, to the records that announce them."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import exp
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from model.spec import CLOSE, Engine
from stream_app.core import alerts
from stream_app.core.alerts import NO_ALERT, Alert, Phase
from stream_app.core.batch import EventBatch
from stream_app.core.calm import ANOMALOUS, NORMAL, STOPS, UNJUDGED, pass_calm, unjudged
from stream_app.core.closes import Closes, closes, surprise_of
from stream_app.core.entries import Eviction, SessionEnd, Steps
from stream_app.core.events import (
    AlertKind,
    AlertReason,
    Alternative,
    Anomaly,
    Source,
)
from stream_app.core.memory import likeliest_actions
from stream_app.core.results import Results
from stream_app.core.state import ACTION_CODE, EXPECTED
from stream_app.core.store import PartitionStore

# A part of the surprise below this share explains nothing.
_REASON_SHARE = 0.2
# So few ends are judged faster one by one than in columns.
FEW_ENDS = 4

_number = itemgetter(0)


class Happening(NamedTuple):
    """What a verdict is about: an input record, or the end of something."""

    batch_row: int
    pseudonym: bytes
    event_id: str
    source: Source
    at_ms: int


Announce = Callable[[int, Anomaly], None]
End = tuple[int, SessionEnd | Eviction]
"""An end, and the number of steps before it."""


class Judge:
    """Pass 3's anomaly side for one part of a batch; calls ``announce(batch row, anomaly)``.

    Calm steps are judged in stretches. They touch no alert, so what comes between them may wait
    until the stretch is over, but for the ends of users with an open alert.
    """

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
        self._reservoir, self._rate = store.reservoirs["surprise"], store.config.alert_rate
        self.verdicts = unjudged(results.score)
        self._rows = steps.columns["row"]
        self.offsets = steps.columns["offset"].copy()
        self._unjudged = steps.columns["fallback"]
        stops = store.columns["alert_offset"][self._rows] >= 0
        self._closes: Closes | None = None
        self._marks = stops.view(np.uint8)
        np.putmask(self._marks, self._unjudged, UNJUDGED)
        if steps.late:
            self._marks[list(steps.late)] |= STOPS

    def judge(
        self,
        ends: list[End],
        step: Callable[[int], None],
        end: Callable[[SessionEnd | Eviction], None],
    ) -> None:
        """Go through steps and ``ends`` in order. Calls ``step(number)`` where a step is not calm:
        it has to come back to ``self.step``; and ``end(entry)`` for each end."""
        n, k, done = len(self._rows), 0, 0
        self._meet(ends)
        while True:
            stop = n
            if done < len(ends) and self._has_alert[done:].any():
                stop = ends[done + int(self._has_alert[done:].argmax())][0]
            held = (self._reservoir, self.verdicts, self.offsets, self._marks)
            k = pass_calm(*held, k, stop, self._rate)
            done = self._pass_ends(ends, done, bisect_right(ends, k, done, key=_number), end)
            if k < stop:
                step(k)
                k += 1
            elif k == n:
                return

    def _pass_ends(
        self,
        ends: list[End],
        first: int,
        last: int,
        end: Callable[[SessionEnd | Eviction], None],
    ) -> int:
        """Go through ends up to ``last``; calls ``end`` where one is not calm."""
        while first < last:
            if last - first >= FEW_ENDS:
                if self._closes is None:
                    self._closes = closes([other for _, other in ends], self._results)
                told = self._closes.verdicts, self._closes.offsets
                marks = self._closes.marks | self._has_alert
                reservoir = self._store.reservoirs["session_close"]
                first = pass_calm(reservoir, *told, marks, first, last, self._rate)
            if first < last:
                end(ends[first][1])
                first += 1
        return last

    def step(self, k: int, where: Happening) -> None:
        """Find the verdict on a step that is not calm; moves its user's alert and the reservoir."""
        verdicts, row, reservoir = self.verdicts, self._steps[k].row, self._reservoir
        score, config = float(verdicts.scores[k]), self._store.config
        if self._unjudged[k]:
            return
        offset = where.source.offset
        if not alerts.calibrated(len(reservoir), config.alert_rate):
            reservoir.learn(score, offset)
            return
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
            self._set_alert(row, kept)
        verdicts.put(k, self._state(p_value), p_value)

    def correction(self, k: int) -> None:
        """Find the verdict on the newest event behind late step ``k`` anew. It is only told: that
        event has had its alert, and its score was learned."""
        left = self._results.left_by(k)
        if self._unjudged[k] or not alerts.calibrated(len(self._reservoir), self._rate):
            return
        p_value = self._reservoir.p_value(float(self.verdicts.scores[left]))
        self.verdicts.put(left, self._state(p_value), p_value)

    def _state(self, p_value: float) -> int:
        return ANOMALOUS if p_value <= self._rate else NORMAL

    def _meet(self, ends: list[End]) -> None:
        """Learn which ends are of users with an open alert."""
        rows = [end.row if isinstance(end, SessionEnd) else -1 for _, end in ends]
        self._end_rows = np.array(rows, np.intp)  # -1: of a user who has left the rows
        self._has_alert = self._store.columns["alert_offset"][self._end_rows] >= 0
        for place, (_, end) in enumerate(ends):
            if isinstance(end, Eviction):
                self._has_alert[place] = end.alert.is_open

    def _set_alert(self, row: int, alert: Alert) -> None:
        self._store.set_alert(row, alert)
        theirs = (self._rows == row) & ~self._unjudged
        if self._steps.late:
            theirs[list(self._steps.late)] = False
        self._marks[theirs] = STOPS if alert.is_open else 0
        self._has_alert[self._end_rows == row] = alert.is_open

    def session_end(self, end: SessionEnd) -> None:
        """Score a session's close, since what is missing shows only there, and end its alert."""
        self._score_close("close", end, end)
        alert = self._store.alert(end.row)
        if alert.is_open:
            self._close(alert, self._place("close", end))
            self._set_alert(end.row, NO_ALERT)

    def eviction(self, gone: Eviction) -> None:
        """End everything that is open of a user who leaves the state."""
        if gone.session is not None:
            self._score_close("evict", gone.session, gone)
        if gone.alert.is_open:
            self._close(gone.alert, self._place("evict", gone))

    def _place(self, what: str, end: SessionEnd | Eviction) -> Happening:
        """Name something that no input record is: by what it is and the user's last record."""
        source = Source(self._batch.topic, self._batch.partition, end.offset)
        event_id = f"{what}-{source.topic}-{source.partition}-{end.offset}"
        return Happening(end.batch_row, end.pseudonym, event_id, source, end.at_ms)

    def _score_close(self, what: str, end: SessionEnd, by: SessionEnd | Eviction) -> None:
        store = self._store
        if end.fallback:
            return
        surprise = surprise_of(end, self._results)
        reservoir, rate = store.reservoirs["session_close"], store.config.alert_rate
        if alerts.calibrated(len(reservoir), rate):
            p_value = reservoir.p_value(surprise)
            if p_value <= rate:
                alert, where = (
                    Alert(end.at_ms, end.offset, 1, 0, 0, surprise),
                    self._place(what, by),
                )
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
        observed = names[self._steps[k].mark & ACTION_CODE]
        found.append((action, AlertReason("action", observed, probability(-action), expected)))
        found.sort(key=lambda pair: -pair[0])
        return [reason for part, reason in found if part >= _REASON_SHARE * (item + action)]

    def _close_reason(self, end: SessionEnd, surprise: float) -> AlertReason:
        codes = list(end.expected[:EXPECTED])
        logps = np.frombuffer(end.expected[EXPECTED:], "<f2").tolist()
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
