"""The core in one call: ``play`` takes a partition's batch through the three passes.

Law: any cutting of the input into batches, with the store taken to bytes and back between any two
of them, gives the same outputs in the same order as one event at a time.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from model.spec import Engine
from stream_app.core.admit import Admission
from stream_app.core.batch import EventBatch, OutputBatch, Route, ShadowSums
from stream_app.core.decide import Decider
from stream_app.core.rounds import advance
from stream_app.core.store import PartitionStore
from stream_app.core.swap import rebuild_stale

Stage = Literal["decode", "admit", "advance", "decide"]
Mark = Callable[[Stage], None]


def unmeasured(stage: Stage) -> None:
    """The default ``mark``: nobody times the stages."""


def play(
    batch: EventBatch,
    store: PartitionStore,
    engines: Mapping[str, Engine],
    route: Route,
    mark: Mark = unmeasured,
    next_route: Route | None = None,
) -> OutputBatch:
    """Play one partition's batch, moving ``store``; ``mark(stage)`` is called as each stage ends.

    ``route`` is in force and must be what the partition's record says; ``next_route`` (default: the
    same) is recorded by this batch and in force from the next one on, so that whoever replays after
    a crash meets the same route at the same offset. An empty batch records a route, too.

    The batch must begin at or behind ``store.next_offset`` and end before ``batch.next_offset``:
    ValueError otherwise, since playing it would double events. ValueError as well for a route that
    is not the recorded one.
    """
    following = route if next_route is None else next_route
    store.record.check_route(route, store.partition)
    _check_offsets(batch, store)
    engine, successor = _engines(batch, engines, route, following)
    out = OutputBatch()
    if engine is not None:
        store.serve(engine)
        if route.shadow is not None or store.shadow is not None:
            store.watch_by(engines.get(route.shadow or ""), engine)
        _erase(batch, store, engine, route, out)
        _play(batch, store, engine, route, out, mark)
        out.recall = store.recall.take()
        out.shadow = _shadow_sums(store, route)
    if successor is not None:
        store.swap(successor)
        out.notices.append("model_swapped")
    _settle(batch, store, following, out)
    return out


def _shadow_sums(store: PartitionStore, route: Route) -> ShadowSums | None:
    if store.shadow is not None:
        return store.shadow.take()
    if route.shadow is not None:
        return ShadowSums(failed=f"model {route.shadow} is not there")
    return None


def _check_offsets(batch: EventBatch, store: PartitionStore) -> None:
    if batch.offsets and batch.offsets[0] < store.next_offset:
        raise ValueError(
            f"partition {batch.partition}: the batch begins at offset {batch.offsets[0]}, the "
            f"state already holds everything below {store.next_offset}"
        )
    if batch.offsets and batch.offsets[-1] >= batch.next_offset:
        raise ValueError(
            f"partition {batch.partition}: the batch ends at offset {batch.offsets[-1]}, the next "
            f"one cannot start at {batch.next_offset}"
        )


def _engines(
    batch: EventBatch, engines: Mapping[str, Engine], route: Route, following: Route
) -> tuple[Engine | None, Engine | None]:
    """Who answers this batch, and who begins to answer the next one, if that is another model.
    Nobody has to answer an empty batch that ends a model which is not there any more."""
    engine, successor = engines.get(route.live), engines.get(following.live)
    is_swap = following.live != route.live
    if engine is None and (batch.offsets or not is_swap):
        raise ValueError(
            f"partition {batch.partition} answers by model {route.live}, which is not there; an "
            "empty batch with a next_route to a model that is there ends this"
        )
    if is_swap and successor is None:
        raise ValueError(
            f"partition {batch.partition} cannot swap to model {following.live}: it is not there"
        )
    return engine, successor if is_swap else None


def _play(
    batch: EventBatch,
    store: PartitionStore,
    engine: Engine,
    route: Route,
    out: OutputBatch,
    mark: Mark,
) -> None:
    cleaned = store.read_all(batch)
    mark("decode")
    done = 0
    while True:
        admission = Admission(batch, cleaned, store, engine)
        done = admission.run(done)
        mark("admit")
        out.rebuilt += rebuild_stale(store, engine, admission.stale)
        results = advance(admission.steps, store, engine)
        if store.shadow is not None:
            shadow, burst_ms = store.shadow, store.config.burst_ms
            shadow.watch(admission.steps, results, store.rows, burst_ms)
        mark("advance")
        decider = Decider(batch, store, engine, route, admission.steps, results, out)
        decider.decide(admission.others)
        out.outcomes["duplicate"] += admission.duplicates
        out.outcomes["heartbeat"] += admission.heartbeats
        mark("decide")
        if done == len(cleaned):
            break


def _erase(
    batch: EventBatch, store: PartitionStore, engine: Engine, route: Route, out: OutputBatch
) -> None:
    """Carry out the erasures that this route brought in, before the batch's first record."""
    if not store.record.erasures_due:
        return
    done = store.record.erased_as_of
    admission = Admission(batch, [], store, engine)
    ordered = dict.fromkeys(pseudonym for offset, pseudonym in route.erasures if offset >= done)
    out.erased = sum(admission.erase(pseudonym) for pseudonym in ordered)
    if admission.others:
        results = advance(admission.steps, store, engine)
        decider = Decider(batch, store, engine, route, admission.steps, results, out)
        decider.decide(admission.others)
    store.record.erased_as_of = route.as_of


def _settle(batch: EventBatch, store: PartitionStore, following: Route, out: OutputBatch) -> None:
    """Book the batch in the partition record."""
    record = store.record
    record.next_offset = batch.next_offset
    record.take_route(following)
    for outcome, count in out.outcomes.items():
        record.outcomes[outcome] = record.outcomes.get(outcome, 0) + count
