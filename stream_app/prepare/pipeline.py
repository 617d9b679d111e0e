"""From click files to a prepared folder, stage by stage; what is done is not done again."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from model.spec import ModelSpec
from stream_app.prepare import expressions, manifest
from stream_app.prepare.backend import Backend, remove
from stream_app.prepare.clicks import Notice, Reading, pieces_of
from stream_app.prepare.columns import measured
from stream_app.prepare.config import PrepareConfig, PrepareError, SplitKind
from stream_app.prepare.cuts import cuts_of
from stream_app.prepare.expressions import Table
from stream_app.prepare.fold import NO_ITEMS, Folding
from stream_app.prepare.manifest import Input, Manifest, write_json
from stream_app.prepare.statistics import Statistics, statistics_of
from stream_app.prepare.summary import Summary, summarise
from stream_app.profile import LogProfile
from stream_app.sequences import ShapeConfig, shape

USERS_PER_BUCKET = 100_000
_LATENESS_MS = 86_400_000  # a sorted log is never late
_SHOWN_ITEMS = 1000

Report = Callable[[str, int, int], None]


class Request(msgspec.Struct, frozen=True):
    """What to prepare, and how."""

    paths: tuple[Path, ...]
    reading: Reading
    config: PrepareConfig
    out: Path


class Prepared(msgspec.Struct, frozen=True):
    """A folder's manifest, and what was counted on the way."""

    manifest: Manifest
    summary: Summary
    statistics: dict[str, Statistics]


def key_for(request: Request, inputs: Sequence[Input]) -> str:
    """Names what ``run`` would make: equal keys, equal folders."""
    reading = request.reading
    core = msgspec.structs.replace(reading.core, pseudonym_key=bytes(16))  # no name is kept
    return manifest.key_of(
        inputs, reading.preset, dict(reading.mapping), msgspec.to_builtins(core), request.config
    )


def run(
    request: Request, inputs: Sequence[Input], backend: Backend, report: Report, notice: Notice
) -> Prepared:
    """Prepare into ``request.out``, going on where a run of the same key was stopped.

    Raises FileError, PrepareError or LogError; the folder then has no manifest.
    """
    out, config = request.out, request.config
    key = key_for(request, inputs)
    work = out / manifest.WORK_FOLDER / key
    work.mkdir(parents=True, exist_ok=True)
    pieces = pieces_of(request.paths, request.reading, notice)
    backend.clean(pieces, request.reading, work / "clicks", _part(report, "reading"))
    clicks = backend.table(work / "clicks")
    rejected = {r["reason"]: r["n"] for r in backend.rows(expressions.rejected_reasons(clicks))}
    backend.save(expressions.accepted(clicks), work / "accepted")
    accepted = backend.table(work / "accepted")
    total = backend.rows(clicks.aggregate(n=clicks.count()))[0]["n"] - sum(rejected.values())
    repeated = total - backend.rows(expressions.bounds(accepted))[0]["n"]
    kept = _core(accepted, config, backend, work, report)
    made_up = all(piece.is_untimed for piece in pieces)
    traits, spec = _shape(kept, sum(rejected.values()), made_up, config, backend)
    cuts = cuts_of(config, traits, lambda *span: _counts(backend, kept, *span))
    core = msgspec.structs.replace(request.reading.core, allowed_lateness_ms=_LATENESS_MS)
    folding = Folding(spec, core, _ticks(backend, kept))
    buckets = -(-traits["users"] // USERS_PER_BUCKET)
    backend.fold(kept, folding, buckets, work / "folded", _part(report, "sessions and features"))
    events = backend.table(work / "folded")
    if cuts.validation_ms is None or cuts.test_ms is None:
        events = expressions.split_by_user(events)
    else:
        events = expressions.split_by_time(events, cuts.validation_ms, cuts.test_ms)
    report("writing", 0, 1)
    remove(out / manifest.EVENTS_FOLDER)
    backend.save(events, out / manifest.EVENTS_FOLDER, parts=("day", "split"))
    report("writing", 1, 1)
    events = backend.table(out / manifest.EVENTS_FOLDER)
    statistics = _statistics(events, measured(spec.features), backend, report)
    summary = summarise(backend, events, rejected, repeated)
    if cuts.kind is SplitKind.leave_one_out and "test" not in summary.splits:
        raise PrepareError(
            "no user has three events with an item, so leave-one-out leaves nothing to measure"
            " on; choose another --split."
        )
    found = Manifest(
        key=key,
        inputs=tuple(inputs),
        config=config,
        cuts=cuts,
        events=traits["clicks"],
        features=spec.features,
        made_up_times=made_up,
        backend=backend.name,
    )
    return Prepared(found, summary, statistics)


def finish(request: Request, prepared: Prepared) -> None:
    """Write what was counted, the manifest last, and clear the work away."""
    write_json(request.out / manifest.STATISTICS_FILE, prepared.statistics)
    write_json(request.out / manifest.SUMMARY_FILE, prepared.summary)
    write_json(request.out / manifest.MANIFEST_FILE, prepared.manifest)
    remove(request.out / manifest.WORK_FOLDER)


def _part(report: Report, what: str) -> Callable[[int, int], None]:
    return lambda done, total: report(what, done, total)


def _core(
    events: Table, config: PrepareConfig, backend: Backend, work: Path, report: Report
) -> Table:
    """The events of the k-core: no user and no item with fewer item events than asked.

    Each round leaves out the items, then the users, that have too few by then, until none has.
    """
    if config.user_core == config.item_core == 1:
        return events
    users = items = None
    before: tuple[int, ...] = ()
    for number in range(1, 1 << 30):
        kept = expressions.within(events, users, items)
        backend.save(
            expressions.frequent(kept, "item_id", config.item_core), work / f"items-{number}"
        )
        items = backend.table(work / f"items-{number}")
        kept = expressions.within(events, users, items)
        backend.save(
            expressions.frequent(kept, "user_id", config.user_core), work / f"users-{number}"
        )
        users = backend.table(work / f"users-{number}")
        sizes = tuple(backend.rows(t.aggregate(n=t.count()))[0]["n"] for t in (users, items))
        report("k-core rounds", number, number + 1)
        if sizes == before:
            break
        before = sizes
    report("k-core rounds", number, number)
    if 0 in sizes:
        raise PrepareError(
            f"no user with {config.user_core} and item with {config.item_core} events is left;"
            " lower --user-core, --item-core or --k-core."
        )
    backend.save(expressions.within(events, users, items), work / "core")
    return backend.table(work / "core")


def _shape(
    events: Table, rejected: int, made_up: bool, config: PrepareConfig, backend: Backend
) -> tuple[dict[str, Any], ModelSpec]:
    """What the log is like, and the actions and features that a model of it would see."""
    traits = backend.rows(expressions.traits(events))[0]
    traits |= backend.rows(expressions.distinct_pairs(events))[0]
    items = backend.rows(expressions.commonest(events, "item_id", _SHOWN_ITEMS))
    actions = backend.rows(expressions.commonest(events, "event_type", _SHOWN_ITEMS))
    profile = LogProfile(
        items=Counter({row["item_id"]: row["n"] for row in items}),
        actions=Counter({row["event_type"]: row["n"] for row in actions}),
        users=traits["users"],
        clicks=traits["clicks"],
        rejected=rejected,
        with_session_id=traits["with_session_id"],
        sessions_are_users=traits["session_is_user"] == traits["with_session_id"],
        with_dwell=traits["with_dwell"],
        first_ms=traits["first_ms"] or 0,
        last_ms=traits["last_ms"] or 0,
        made_up_times=made_up,
    )
    spec, _ = shape(profile, ShapeConfig())
    return traits, msgspec.structs.replace(spec, item_count=len(NO_ITEMS), top_k=1)


def _counts(
    backend: Backend, events: Table, step_ms: int, from_ms: int, to_ms: int
) -> dict[int, int]:
    rows = backend.rows(expressions.counted_by(events, step_ms, from_ms, to_ms))
    return {row["begins_ms"]: row["n"] for row in rows}


def _ticks(backend: Backend, events: Table) -> tuple[int, ...]:
    return tuple(sorted(row["at_ms"] for row in backend.rows(expressions.ticks(events))))


def _statistics(
    events: Table, columns: Sequence[str], backend: Backend, report: Report
) -> dict[str, Statistics]:
    found: dict[str, Statistics] = {}
    for number, column in enumerate(columns):
        rows = backend.rows(expressions.values_of(events, column))
        one = statistics_of((row["value"], row["n"]) for row in rows)
        if one is not None:
            found[column] = one
        report("statistics", number + 1, len(columns))
    return found
