"""What was behind an output, from a replay that stopped at the record that caused it. Pure."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from model.spec import Engine
from stream_app.core.calibration import mix
from stream_app.core.clean import Click
from stream_app.core.events import Source
from stream_app.core.store import PartitionStore
from stream_app.differences import Difference, differences
from stream_app.explanation_parts import (
    MemorySummary,
    ModelStep,
    WindowEvent,
    item_names,
    items_held,
    memory_of,
    step_of,
    window_of,
)
from stream_app.history import Commit
from stream_app.kafka.contract import LATENCY
from stream_app.published import Published
from stream_app.rebuild import Cause
from stream_app.source_names import source_name


class Conditions(msgspec.Struct, frozen=True):
    """All else that the output depends on."""

    model: str
    arm: str
    as_of: int
    items_as_of: int
    shadow: str | None
    degraded: int
    blocked_items: int
    calibration: dict[str, int]  # scores behind the p-values
    threshold: float


class Rebuilt(msgspec.Struct, frozen=True):
    """How the state was made again."""

    changelog_offset: int | None  # of the commit that it was restored from; None: from nothing
    from_offset: int  # of the input
    records_played: int
    users: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """An output and everything behind it. ``identical`` is None where nothing was published."""

    identical: bool | None
    differences: list[Difference]
    published: dict[str, list[Any]]
    recomputed: dict[str, list[Any]]
    published_ms: int | None
    latency: dict[str, int]
    source: Source
    caused_by: int | None  # offset of the input record; None: an order
    arrived_ms: int | None
    user: str | None  # pseudonym
    user_id: str | None = None  # only where it is asked for
    event: dict[str, Any] | None
    window: list[WindowEvent]
    memory: MemorySummary | None
    step: ModelStep | None
    conditions: Conditions
    rebuilt: Rebuilt


def conditions_of(cause: Cause, store: PartitionStore, model: str) -> Conditions:
    route = cause.route
    return Conditions(
        model=model,
        arm=route.arm,
        as_of=route.as_of,
        items_as_of=route.items_as_of,
        shadow=route.shadow,
        degraded=route.degraded,
        blocked_items=len(route.blocked),
        calibration={str(kind): count for kind, count in cause.calibration.items()},
        threshold=store.config.alert_rate,
    )


def event_of(click: Click) -> dict[str, Any]:
    """An event without the person behind it."""
    return {name: value for name, value in click._asdict().items() if name != "user_id"}


class Evidence(NamedTuple):
    """What was found in the topics, and what was made again."""

    source: Source
    found: Published | None
    along: Sequence[Published]
    made: Mapping[str, Sequence[bytes]]  # values by role
    restored_from: Commit | None
    from_offset: int  # of the input
    user: bytes | None  # pseudonym


def explanation_of(
    evidence: Evidence, cause: Cause, engine: Engine, seen: Sequence[str], show_user: bool
) -> Explanation:
    """Everything about one output; ``seen`` are item ids of the user's own records."""
    store, found, record = cause.store, evidence.found, cause.record
    published: dict[str, list[bytes]] = {}
    for output in evidence.along:
        published.setdefault(output.role, []).append(output.record.value or b"")
    unequal = differences(published, evidence.made) if published else []
    cleaned = None if record is None else store.read(record.key, record.value, record.received_ms)
    click = cleaned if isinstance(cleaned, Click) else None
    rows = cause.before if cause.after is None else cause.after
    is_own = click is not None and evidence.user == store.pseudonym(click.user_id)
    id_hash = _id_hash(store, found, click, evidence.source)
    names = item_names(engine, seen, items_held(rows))
    return Explanation(
        identical=not unequal if published else None,
        differences=unequal,
        published=_decoded(published),
        recomputed=_decoded(evidence.made),
        published_ms=None if found is None else found.record.timestamp,
        latency=_latency(evidence.along),
        source=evidence.source,
        caused_by=None if record is None else record.offset,
        arrived_ms=None if record is None else record.received_ms,
        user=None if evidence.user is None else evidence.user.hex(),
        # The cause of an end is often another user's record: nobody asked for that person.
        user_id=click.user_id if click is not None and is_own and show_user else None,
        event=event_of(click) if click is not None and is_own else None,
        window=[] if rows is None else window_of(rows, engine, names, id_hash),
        memory=memory_of(cause, engine),
        step=step_of(cause, engine) if is_own else None,
        conditions=conditions_of(cause, store, engine.version),
        rebuilt=Rebuilt(
            None if evidence.restored_from is None else evidence.restored_from.offset,
            evidence.from_offset,
            cause.played,
            store.users,
        ),
    )


def _id_hash(
    store: PartitionStore, found: Published | None, click: Click | None, source: Source
) -> int | None:
    """The hash under which the window holds the event that is asked for."""
    if found is not None and found.output.event_id != source_name(source):
        return store.event_hash(found.output.event_id)
    if click is not None and click.event_id is not None:
        return store.event_hash(click.event_id)
    return mix(source.offset)


def _decoded(values: Mapping[str, Sequence[bytes]]) -> dict[str, list[Any]]:
    return {role: [msgspec.json.decode(value) for value in own] for role, own in values.items()}


def _latency(along: Sequence[Published]) -> dict[str, int]:
    """The measured times that travel in a header of predictions."""
    for output in along:
        for name, value in output.record.headers:
            if name == LATENCY and value is not None:
                with suppress(msgspec.DecodeError):
                    return msgspec.json.decode(value, type=dict[str, int])
    return {}
