"""The core in one call: ``play`` takes a partition's batch through the three passes.

Law: any cutting of the input into batches, with the store taken to bytes and back between any two
of them, gives the same outputs in the same order as one event at a time.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from model.spec import Engine
from stream_app.core.admit import Admission
from stream_app.core.batch import EventBatch, OutputBatch, Route
from stream_app.core.decide import Decider
from stream_app.core.rounds import advance
from stream_app.core.store import PartitionStore

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
    store.check_route(route)
    _refuse_unready(route, following)
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
    engine, out = engines[route.live], OutputBatch()
    _erase(batch, store, engine, route, out)
    cleaned = [
        store.read(key, value, received_ms)
        for key, value, received_ms in zip(
            batch.keys, batch.values, batch.timestamps_ms, strict=True
        )
    ]
    mark("decode")
    done = 0
    while True:
        admission = Admission(batch, cleaned, store, engine)
        done = admission.run(done)
        mark("admit")
        results = advance(admission.steps, store, engine)
        mark("advance")
        decider = Decider(batch, store, engine, route, admission.steps, results, out)
        decider.decide(admission.entries)
        out.outcomes["duplicate"] += admission.duplicates
        out.outcomes["heartbeat"] += admission.heartbeats
        mark("decide")
        if done == len(cleaned):
            break
    _settle(batch, store, following, out)
    return out


def _refuse_unready(route: Route, following: Route) -> None:
    if following.live != route.live:
        raise ValueError("swapping models in a running partition is not supported yet")
    if following.shadow is not None:
        raise ValueError("a shadow model is not supported yet")


def _erase(
    batch: EventBatch, store: PartitionStore, engine: Engine, route: Route, out: OutputBatch
) -> None:
    """Carry out the erasures that this route brought in, before the batch's first record."""
    if not store.erasures_due:
        return
    done = store.record.erased_as_of
    admission = Admission(batch, [], store, engine)
    ordered = dict.fromkeys(pseudonym for offset, pseudonym in route.erasures if offset >= done)
    out.erased = sum(admission.erase(pseudonym) for pseudonym in ordered)
    if admission.entries:
        results = advance(admission.steps, store, engine)
        decider = Decider(batch, store, engine, route, admission.steps, results, out)
        decider.decide(admission.entries)
    store.record.erased_as_of = route.as_of


def _settle(batch: EventBatch, store: PartitionStore, following: Route, out: OutputBatch) -> None:
    """Book the batch in the partition record."""
    record = store.record
    record.next_offset = batch.next_offset
    store.record_route(following)
    for outcome, count in out.outcomes.items():
        record.outcomes[outcome] = record.outcomes.get(outcome, 0) + count
