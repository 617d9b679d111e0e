"""Pass 3, in offset order: verdicts, the fallback's learning, and the records that go out."""

from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from model.spec import Engine, ModelSpec
from stream_app.core.answers import Counted, answers
from stream_app.core.batch import EventBatch, OutputBatch, Record, Route
from stream_app.core.clean import Rejected
from stream_app.core.encode import Frame, Outlook, encode
from stream_app.core.entries import Eviction, Other, Refusal, SessionEnd, Steps
from stream_app.core.events import Anomaly, HeaderValue, RejectedRecord, Source
from stream_app.core.judge import End, Happening, Judge
from stream_app.core.newest import keep_newest
from stream_app.core.recall import EVERY_ROWS
from stream_app.core.results import Results
from stream_app.core.store import PartitionStore

MAX_REJECTED_BYTES = 65_536
MAX_REJECTED_KEY_BYTES = 1024
MAX_REJECTED_HEADERS, MAX_HEADER_BYTES, MAX_HEADER_NAME = 32, 1024, 128

_encode = msgspec.json.Encoder().encode


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
        self._batch, self._store, self._out = batch, store, out
        self._steps, self._results = steps, results
        self._judge = Judge(
            batch, store, engine, steps, results, self._announce, explains=route.degraded < 1
        )
        spec = engine.spec
        most = spec.top_k if route.degraded < 2 else min(5, spec.top_k)
        place = batch.topic, batch.partition
        self._frame = Frame(*place, engine.version, route, spec, engine.vocabulary, most)
        self._counted = Counted(spec, store, route, most, out)

    def decide(self, others: list[tuple[int, Other]]) -> None:
        """``others`` are what happened besides the steps, with the number of steps before each."""
        ends: list[End] = []
        for number, other in others:
            if isinstance(other, Refusal):
                self._refuse(other.batch_row, other.rejected)
            else:
                ends.append((number, other))
                self._out.closed_sessions += isinstance(other, SessionEnd) or bool(other.session)
        self._judge.judge(ends, self._step, self._end)
        if len(self._steps):
            self._answer()
            self._watch()
            keep_newest(self._steps, self._store)

    def _end(self, end: SessionEnd | Eviction) -> None:
        if isinstance(end, SessionEnd):
            self._judge.session_end(end)
        else:
            self._judge.eviction(end)

    def _step(self, k: int) -> None:
        """Judge a step of which there may be more to say than its verdict."""
        steps, batch = self._steps, self._batch
        step, click = steps[k], steps.click[k]
        i = step.batch_row
        source = Source(batch.topic, batch.partition, batch.offsets[i])
        event_id = click.event_id or f"{source.topic}-{source.partition}-{source.offset}"
        happening = Happening(i, step.pseudonym, event_id, source, click.at_ms)
        self._judge.step(k, happening)
        if k in steps.late:
            self._judge.correction(k)

    def _answer(self) -> None:
        steps, results, out = self._steps, self._results, self._out
        told = answers(self._batch, self._store, steps, results, self._judge.offsets, self._counted)
        outlook = _outlook(results, self._frame.spec)
        records = encode(self._frame, told, outlook, self._judge.verdicts)
        out.predictions = [*out.predictions, *records] if out.predictions else records
        out.outcomes["predicted"] += len(steps)
        out.late += len(steps.late)
        out.corrections += len(records) - len(steps)
        if np.count_nonzero(told.fallbacks):
            out.fallbacks += int(np.count_nonzero(told.fallbacks[told.revisions == 0]))

    def _watch(self) -> None:
        """Hold what watched users did against what was answered before it."""
        steps, recall, known = self._steps, self._store.recall, self._frame.spec.item_count
        ks = np.flatnonzero(steps.columns["row"] % EVERY_ROWS == 0)
        if not len(ks):
            return
        chosen = steps.columns[ks]
        columns = (chosen[name].tolist() for name in ("row", "total", "item", "starts"))
        tops = self._results.top_items[ks].tolist()
        for k, row, total, item, starts, top in zip(ks.tolist(), *columns, tops, strict=True):
            if k not in steps.late:
                recall.see(row, total, item, item < known and not starts, top)

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


def _outlook(results: Results, spec: ModelSpec) -> Outlook:
    return Outlook(
        results.top_items,
        np.exp(results.top_logp, dtype=np.float64),
        np.exp(results.action_logp, dtype=np.float64),
        results.cart if "cart" in spec.actions else None,
        results.purchase if "purchase" in spec.actions else None,
        _expected_gap_ms(results, spec) if spec.gap_edges_ms else None,
    )


def _expected_gap_ms(results: Results, spec: ModelSpec) -> npt.NDArray[np.float64]:
    """Expected time to the next event [N]: interval probabilities times the intervals' middles."""
    shares = np.exp(results.gap_logp, dtype=np.float64)  # [N, G-1]
    return np.asarray((shares * _middles_ms(spec.gap_edges_ms)).sum(axis=1))


@lru_cache(maxsize=64)
def _middles_ms(gap_edges_ms: tuple[int, ...]) -> npt.NDArray[np.float64]:
    edges = [0, *gap_edges_ms]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    # The last interval is open: half its lower edge beyond it.
    middles.append(edges[-1] * 1.5)
    return np.array(middles)
