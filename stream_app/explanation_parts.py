"""What the state held of a user and what the model did, as an explanation tells it. Pure."""

from collections.abc import Collection, Mapping, Sequence
from math import exp

import msgspec
import numpy as np

from model.spec import Engine, item_hash
from stream_app.core.state import ACTION_CODE, NO_ACTION, STARTS_SESSION, Rows
from stream_app.core.window import times_ms, used
from stream_app.rebuild import Cause, Step


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


def item_names(engine: Engine, seen: Sequence[str], wanted: Collection[int]) -> dict[int, str]:
    """Ids of items by their hash, from the vocabulary and from ids seen in the input, which win
    where two ids have one hash."""
    hashed = ((item_hash(item), item) for item in engine.vocabulary.items)
    found = {key: item for key, item in hashed if key in wanted}
    return found | {item_hash(item): item for item in seen}


def items_held(rows: Rows | None) -> set[int]:
    """Hashes of the items in a row's window [1]."""
    return set() if rows is None else set(rows["ring"][0]["item"].tolist()) - {0}


def unnamed_items(cause: Cause, engine: Engine, seen: Sequence[str]) -> set[int]:
    """Hashes of the window's items whose ids are not known yet."""
    wanted = items_held(cause.before) | items_held(cause.after)
    return wanted - item_names(engine, seen, wanted).keys()


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
    """The step that left the user's memory: for a late event, that of the user's newest one."""
    own = [step for step in cause.steps if step.version == engine.version]
    if not own:
        return None
    step, spec = _last(own[-1], cause.after), engine.spec
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


def _last(step: Step, after: Rows | None) -> Step:
    """The part of a call that left a user's memory: sessions that begin anew are played side by
    side, so it need not be the last one."""
    if after is None or len(step.tokens.item) == 1:
        return step
    left = np.flatnonzero((step.result.memory.hidden == after["hidden"][0]).all(axis=1))
    place = left[-1:] if len(left) else np.array([len(step.tokens.item) - 1])
    return step._replace(tokens=step.tokens.rows(place), result=step.result.rows(place))


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


def _gap(step: Step, edges_ms: Sequence[int]) -> str:
    """The interval that a gap code stands for."""
    code = int(step.tokens.gap[-1])
    if code == 0:
        return "none before"
    low = 0 if code == 1 else edges_ms[code - 2]
    return f"{low} ms or more" if code > len(edges_ms) else f"{low} to {edges_ms[code - 1]} ms"


def _name(names: Sequence[str], code: int) -> str:
    return names[code] if code < len(names) else f"action {code}"
