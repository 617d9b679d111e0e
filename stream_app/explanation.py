"""What was behind an output, from a replay that stopped at the record that caused it. Pure."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import exp
from typing import Any, NamedTuple

import msgspec
import numpy as np

from model.spec import Engine, item_hash
from stream_app.core.calibration import mix
from stream_app.core.clean import Click
from stream_app.core.events import Source
from stream_app.core.state import ACTION_CODE, NO_ACTION, STARTS_SESSION, Rows
from stream_app.core.store import PartitionStore
from stream_app.core.window import times_ms, used
from stream_app.history import Commit
from stream_app.kafka.lane import LATENCY
from stream_app.published import Published
from stream_app.rebuild import Cause, Step
from stream_app.source_names import source_name


class WindowEvent(msgspec.Struct, frozen=True):
    """An event that the state holds of the user."""

    at_ms: int
    action: str
    item: str | None  # its id; "#" and its hash where no id is known for that
    surprise: float  # nats
    starts_session: bool
    is_this: bool


class MemorySummary(msgspec.Struct, frozen=True):
    """The model's memory of the user; norms are Euclidean."""

    width: int
    dtype: str
    norm_before: float | None  # None: the model had none
    norm_after: float | None
    log_z_before: float | None
    log_z_after: float | None


class Expected(msgspec.Struct, frozen=True):
    value: str
    probability: float


class ModelStep(msgspec.Struct, frozen=True):
    """The model's step for the event, and what it expected before."""

    features: dict[str, float]
    item_code: int
    is_known_item: bool
    gap: str
    item_surprise: float  # nats
    action_surprise: float
    expected_items: list[Expected]
    expected_actions: list[Expected]


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


class Difference(msgspec.Struct, frozen=True):
    topic: str
    field: str
    published: Any
    recomputed: Any


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


def window_of(
    rows: Rows, engine: Engine, names: Mapping[int, str], id_hash: int | None
) -> list[WindowEvent]:
    """The events of one row [1], oldest first; ``names`` are item ids by hash."""
    entries = rows["ring"][0][used(rows)[0]]
    times = times_ms(rows)[0][used(rows)[0]]
    events = []
    for place in np.argsort(times, kind="stable").tolist():
        entry, at_ms = entries[place], int(times[place])
        action, hashed = int(entry["action"]), int(entry["item"])
        events.append(
            WindowEvent(
                at_ms,
                _name(engine.spec.actions, action & ACTION_CODE),
                None if hashed == 0 else names.get(hashed, f"#{hashed:08x}"),
                round(float(entry["surprise"]), 4),
                bool(action & STARTS_SESSION),
                id_hash is not None and int(entry["id_low"]) == id_hash & 0xFFFFFFFF,
            )
        )
    return events


def item_names(engine: Engine, seen: Sequence[str], rows: Rows | None) -> dict[int, str]:
    """Ids of a row's items by their hash, from the vocabulary and from ids seen in the input,
    which win where two ids have one hash."""
    if rows is None:
        return {}
    wanted = set(rows["ring"][0]["item"].tolist()) - {0}
    found = {item_hash(item): item for item in engine.vocabulary.items if item_hash(item) in wanted}
    return found | {item_hash(item): item for item in seen}


def memory_of(cause: Cause, engine: Engine) -> MemorySummary | None:
    if cause.before is None and cause.after is None:
        return None

    def norm(rows: Rows | None) -> float | None:
        if rows is None:
            return None
        return round(float(np.linalg.norm(rows["hidden"][0].astype(np.float64))), 6)

    def log_z(rows: Rows | None) -> float | None:
        return None if rows is None else round(float(rows["log_z"][0]), 6)

    spec = engine.spec
    return MemorySummary(
        spec.hidden_width, spec.memory_dtype,
        norm(cause.before), norm(cause.after), log_z(cause.before), log_z(cause.after),
    )  # fmt: skip


def step_of(cause: Cause, engine: Engine) -> ModelStep | None:
    """The last call of the model that answers: for a late event, the one for its newest event."""
    own = [step for step in cause.steps if step.version == engine.version]
    if not own:
        return None
    step, spec = own[-1], engine.spec
    code = int(step.tokens.item[-1])
    dense = [round(float(value), 6) for value in step.tokens.dense[-1]]
    items, actions = _expectations(cause.before, engine)
    return ModelStep(
        features=dict(zip(spec.features, dense, strict=True)),
        item_code=code,
        is_known_item=code < spec.item_count,
        gap=_gap(step, spec.gap_edges_ms),
        item_surprise=round(float(step.result.item_surprise[-1]), 4),
        action_surprise=round(float(step.result.action_surprise[-1]), 4),
        expected_items=items,
        expected_actions=actions,
    )


def _expectations(rows: Rows | None, engine: Engine) -> tuple[list[Expected], list[Expected]]:
    if rows is None:
        return [], []

    def named(what: str, names: Sequence[str]) -> list[Expected]:
        codes, logps = rows[f"expected_{what}"][0], rows[f"expected_{what}_logp"][0]
        return [
            Expected(names[code], round(min(exp(logp), 1.0), 6))
            for code, logp in zip(codes.tolist(), logps.tolist(), strict=True)
            if 0 <= code < len(names) and code != NO_ACTION
        ]

    return named("item", engine.vocabulary.items), named("action", engine.spec.actions)


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


def differences(
    published: Mapping[str, Sequence[bytes]], recomputed: Mapping[str, Sequence[bytes]]
) -> list[Difference]:
    """Where the values of two lists of outputs, by role, are not the same bytes."""
    found = []
    for role in sorted(published.keys() | recomputed.keys()):
        mine, theirs = list(published.get(role, ())), list(recomputed.get(role, ()))
        if mine == theirs:
            continue
        if len(mine) != len(theirs):
            found.append(Difference(role, "records", len(mine), len(theirs)))
        for one, other in zip(mine, theirs, strict=False):
            found += [
                Difference(role, field, a, b)
                for field, a, b in _fields(msgspec.json.decode(one), msgspec.json.decode(other))
            ]
            if one != other and not found:
                found.append(Difference(role, "bytes", one.hex(), other.hex()))
    return found


def _fields(one: Any, other: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(path, value, value) wherever two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            row
            for name in {**one, **other}
            for row in _fields(one.get(name), other.get(name), f"{path}.{name}".lstrip("."))
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [row for at, (a, b) in pairs for row in _fields(a, b, f"{path}[{at}]")]
    return [] if one == other else [(path, one, other)]


def _gap(step: Step, edges_ms: Sequence[int]) -> str:
    """The interval that a gap code stands for."""
    code = int(step.tokens.gap[-1])
    if code == 0:
        return "none before"
    low = 0 if code == 1 else edges_ms[code - 2]
    return f"{low} ms or more" if code > len(edges_ms) else f"{low} to {edges_ms[code - 1]} ms"


def _name(names: Sequence[str], code: int) -> str:
    return names[code] if code < len(names) else f"action {code}"


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
    names = item_names(engine, seen, rows)
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
