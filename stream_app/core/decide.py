"""Pass 3, in offset order: verdicts, the fallback's learning, and the records that go out."""

from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice, pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from model.spec import Engine, ModelSpec
from stream_app.core.batch import EventBatch, OutputBatch, Record, Route
from stream_app.core.clean import Rejected
from stream_app.core.entries import Entry, Eviction, Refusal, SessionEnd, StepAt, Steps
from stream_app.core.events import (
    Anomaly,
    Fallback,
    HeaderValue,
    Prediction,
    RankedItem,
    RejectedRecord,
    Source,
    Verdict,
)
from stream_app.core.judge import Happening, Judge
from stream_app.core.newest import keep_newest, newest_of
from stream_app.core.recall import EVERY_ROWS
from stream_app.core.results import Results
from stream_app.core.store import PartitionStore

MAX_REJECTED_BYTES = 65_536
MAX_REJECTED_KEY_BYTES = 1024
MAX_REJECTED_HEADERS, MAX_HEADER_BYTES, MAX_HEADER_NAME = 32, 1024, 128
# Under overload one known item in so many is counted.
SEEN_EVERY = 64

_encode = msgspec.json.Encoder().encode


class _About(NamedTuple):
    """What a prediction is about."""

    entry: int  # of the results
    event_id: str
    source: Source
    at_ms: int
    item: int  # hash of the session's newest item, 0: none
    revision: int = 0


class Decider:
    """Turns the entries of one part of a batch into records of ``out``."""

    def __init__(
        self,
        batch: EventBatch,
        store: PartitionStore,
        engine: Engine,
        route: Route,
        steps: Steps,
        results: Results,
        out: OutputBatch,
    ) -> None:
        self._batch, self._store, self._route, self._out = batch, store, route, out
        self._engine, self._spec = engine, engine.spec
        self._steps, self._results = steps, results
        self._judge = Judge(
            batch, store, engine, steps, results, self._announce, explains=route.degraded < 1
        )
        self._most_items = engine.spec.top_k if route.degraded < 2 else min(5, engine.spec.top_k)
        self._most_seen: list[RankedItem] | None = None
        self._items = _probabilities(results.top_logp)
        self._actions = _probabilities(results.action_logp)
        self._next_ms = _expected_gap_ms(results, engine.spec)

    def decide(self, entries: list[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, StepAt):
                self._step(entry.number)
            elif isinstance(entry, Refusal):
                self._refuse(entry.batch_row, entry.rejected)
            elif isinstance(entry, SessionEnd):
                self._out.closed_sessions += 1
                self._judge.session_end(entry)
            elif isinstance(entry, Eviction):
                self._out.closed_sessions += entry.session is not None
                self._judge.eviction(entry)
        keep_newest(self._steps, self._batch, self._store)

    def _step(self, k: int) -> None:
        steps, batch = self._steps, self._batch
        i, click, pseudonym = steps.batch_row[k], steps.click[k], steps.pseudonym[k]
        offset = batch.offsets[i]
        source = Source(batch.topic, batch.partition, offset)
        event_id = click.event_id or f"{batch.topic}-{batch.partition}-{offset}"
        if click.item_id is not None and steps.item[k] >= self._spec.item_count:
            self._store.transitions.learn(steps.source_item[k], click.item_id, offset)
            self._most_seen = None
        elif click.item_id is not None and self._route.degraded and offset % SEEN_EVERY == 0:
            # Only that it was seen: to learn and rank what follows what costs more than the model.
            self._store.transitions.learn(0, click.item_id, offset)
            self._most_seen = None
        verdict = self._judge.step(k, Happening(i, pseudonym, event_id, source, click.at_ms))
        about = _About(k, event_id, source, click.at_ms, steps.item_hash[k] or steps.source_item[k])
        self._predict(k, about, verdict)
        self._out.outcomes["predicted"] += 1
        if steps.row[k] % EVERY_ROWS == 0 and k not in steps.late:
            is_judged = steps.item[k] < self._spec.item_count and not steps.starts[k]
            top = self._results.top_items[k]
            self._store.recall.see(steps.row[k], steps.total[k], steps.item[k], is_judged, top)
        if k in steps.late:
            self._out.late += 1
            self._correct(k)

    def _correct(self, k: int) -> None:
        """Say anew what the user's newest event leads to, now that late step ``k`` is known."""
        batch = self._batch
        newest = newest_of(k, self._steps, batch, self._store)
        if newest is None:
            return
        source = Source(batch.topic, batch.partition, newest.offset)
        event_id = newest.event_id or f"{batch.topic}-{batch.partition}-{newest.offset}"
        entry = self._results.left_by(k)
        about = _About(entry, event_id, source, newest.at_ms, newest.item, newest.revision)
        self._predict(k, about, self._judge.correction(k))
        self._out.corrections += 1

    def _predict(self, k: int, about: _About, verdict: Verdict) -> None:
        """Publish a prediction that step ``k`` gave rise to."""
        fallback: Fallback | None = None
        if self._steps.fallback[k]:
            fallback = "out_of_vocabulary"
        elif self._route.degraded >= 3:
            fallback = "overload"
        if fallback is not None and about.revision == 0:
            self._out.fallbacks += 1
        prediction = self._prediction(self._steps.pseudonym[k], about, verdict, fallback)
        key = prediction.user.encode()
        self._out.predictions.append(Record(self._steps.batch_row[k], key, _encode(prediction)))

    def _prediction(
        self, pseudonym: bytes, about: _About, verdict: Verdict, fallback: Fallback | None
    ) -> Prediction:
        names, results, k = self._spec.actions, self._results, about.entry
        return Prediction(
            event_id=about.event_id,
            user=pseudonym.hex(),
            source=about.source,
            at_ms=about.at_ms,
            revision=about.revision,
            model=self._engine.version,
            arm=self._route.arm,
            as_of=self._route.as_of,
            items=self._ranked(k) if fallback is None else self._counted(about, fallback),
            actions=dict(zip(names, self._actions[k], strict=True)),
            cart=_head(float(results.cart[k]), "cart" in names),
            purchase=_head(float(results.purchase[k]), "purchase" in names),
            next_event_ms=self._next_ms[k] if self._spec.gap_edges_ms else None,
            anomaly=verdict,
            fallback=fallback,
            degraded=self._route.degraded,
        )

    def _ranked(self, k: int) -> list[RankedItem]:
        """The model's likeliest items. Blocked ones leave a gap: the model names no more than K."""
        items, blocked = self._engine.vocabulary.items, self._route.blocked
        codes, most = self._results.top_items[k].tolist(), self._most_items
        pairs: Iterator[tuple[int, float]] = zip(codes, self._items[k], strict=True)
        if blocked:
            pairs = ((code, p) for code, p in pairs if items[code] not in blocked)
        return [RankedItem(items[code], p) for code, p in islice(pairs, most)]

    def _counted(self, about: _About, fallback: Fallback) -> list[RankedItem]:
        """What followed in the stream itself, counted; under overload what was seen most."""
        if fallback == "overload":
            if self._most_seen is None:
                self._most_seen = self._ranked_by_count(0)
            return self._most_seen
        record = self._store.record
        if fallback == "out_of_vocabulary" and not record.said_out_of_vocabulary:
            record.said_out_of_vocabulary = True
            self._out.notices.append("out_of_vocabulary")
        return self._ranked_by_count(about.item)

    def _ranked_by_count(self, item: int) -> list[RankedItem]:
        most, blocked = self._most_items, self._route.blocked
        ranked = self._store.transitions.rank(item, most + len(blocked))
        kept = [RankedItem(item, round(p, 6)) for item, p in ranked if item not in blocked]
        return kept[:most]

    def _refuse(self, i: int, rejected: Rejected) -> None:
        out, batch = self._out, self._batch
        record = rejected_record(batch, i, rejected)
        out.rejected.append(Record(i, record.key, _encode(record)))
        out.outcomes["rejected"] += 1
        out.reject_reasons[rejected.reason] = out.reject_reasons.get(rejected.reason, 0) + 1

    def _announce(self, batch_row: int, anomaly: Anomaly) -> None:
        record = Record(batch_row, anomaly.user.encode(), _encode(anomaly))
        self._out.anomalies.append(record)
        if anomaly.phase == "open":
            self._out.flags[anomaly.kind] = self._out.flags.get(anomaly.kind, 0) + 1


def rejected_record(batch: EventBatch, i: int, rejected: Rejected) -> RejectedRecord:
    """The dead letter of a record: whole up to 64 KiB, cut with its hash beyond that."""
    key, value = batch.keys[i], batch.values[i]
    headers = [
        HeaderValue(name[:MAX_HEADER_NAME], (content or b"")[:MAX_HEADER_BYTES])
        for name, content in batch.headers[i][:MAX_REJECTED_HEADERS]
    ]
    return RejectedRecord(
        reason=rejected.reason,
        detail=rejected.detail,
        topic=batch.topic,
        partition=batch.partition,
        offset=batch.offsets[i],
        timestamp_ms=batch.timestamps_ms[i],
        key=None if key is None else key[:MAX_REJECTED_KEY_BYTES],
        key_size=len(key or b""),
        value=None if value is None else value[:MAX_REJECTED_BYTES],
        value_size=len(value or b""),
        value_blake2b=blake2b(value or b"", digest_size=16).hexdigest(),
        headers=headers,
    )


def _head(probability: float, is_known: bool) -> float | None:
    """A head's probability; None where training never saw the action."""
    return round(min(max(probability, 0.0), 1.0), 6) if is_known else None


def _probabilities(logp: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> list[list[float]]:
    """Six decimals of exp, rows as lists [N][.]."""
    clipped = np.minimum(np.exp(logp.astype(np.float64)), 1.0)
    rows: list[list[float]] = np.round(clipped, 6).tolist()
    return rows


def _expected_gap_ms(results: Results, spec: ModelSpec) -> list[float]:
    """Expected time to the next event [N]: interval probabilities times the intervals' middles."""
    edges = [0, *spec.gap_edges_ms]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    # The last interval is open: half its lower edge beyond it.
    middles.append(edges[-1] * 1.5)
    shares = np.exp(results.gap_logp.astype(np.float64))  # [N, G-1]
    expected: list[float] = np.round((shares * np.array(middles)).sum(axis=1), 1).tolist()
    return expected
