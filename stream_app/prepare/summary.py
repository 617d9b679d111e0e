"""What a prepared log is like, in numbers: counts of counts, no ids of users or items."""

from collections.abc import Mapping
from typing import Any

import ibis
import msgspec

from stream_app.prepare.backend import Backend
from stream_app.prepare.config import DAY_MS, HOUR_MS, SPLITS, TRAIN
from stream_app.prepare.expressions import Table, per_split

FUNNEL = ("view", "cart", "purchase")
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday, Monday is 0


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts; tables of counts map a value, as text where it is a name, to how often it occurs."""

    splits: dict[str, dict[str, int]]
    rejected: dict[str, int]
    repeated_ids: int
    actions: dict[str, int]
    funnel: dict[str, int]  # sessions that went so far, in this order
    session_lengths: dict[int, int]  # events -> sessions
    user_lengths: dict[int, int]  # events -> users
    popularity: dict[int, int]  # item events -> items
    gaps: dict[float, int]  # ln(1 + s) -> events
    hours: dict[int, int]  # weekday * 24 + hour, UTC, Monday first -> events
    days: dict[str, dict[str, int]]  # day -> split -> events
    repeat_share: float  # of item events whose user has had the item
    cold: dict[str, dict[str, int]]  # split -> item events and items that train has not


def summarise(
    backend: Backend, events: Table, rejected: Mapping[str, int], repeated_ids: int
) -> Summary:
    """Count a prepared log on a backend."""

    def counts(table: Table) -> dict[Any, int]:
        return {row["value"]: row["n"] for row in sorted(backend.rows(table), key=_value)}

    items = events.filter(events.item_id.notnull())
    bearing = backend.rows(items.aggregate(n=items.count()))[0]["n"]
    pairs = items.select("user_id", "item_id").distinct()
    distinct = backend.rows(pairs.aggregate(n=pairs.count()))[0]["n"]
    return Summary(
        splits=_by_split(backend.rows(per_split(events))),
        rejected=dict(sorted(rejected.items())),
        repeated_ids=repeated_ids,
        actions=counts(events.group_by(value="event_type").aggregate(n=ibis._.count())),
        funnel=backend.rows(funnel(events))[0],
        session_lengths=counts(lengths(events, "user_id", "session")),
        user_lengths=counts(lengths(events, "user_id")),
        popularity=counts(lengths(items, "item_id")),
        gaps=counts(
            events.filter(events.log_gap.notnull())
            .group_by(value="log_gap")
            .aggregate(n=ibis._.count())
        ),
        hours=counts(hours(events)),
        days=_by_day(backend.rows(events.group_by("day", "split").aggregate(n=ibis._.count()))),
        repeat_share=1 - distinct / bearing if bearing else 0.0,
        cold=_by_split(backend.rows(cold(items))),
    )


def lengths(events: Table, *columns: str) -> Table:
    """How many groups have how many events."""
    sizes = events.group_by(*columns).aggregate(value=ibis._.count())
    return sizes.group_by("value").aggregate(n=ibis._.count())


def hours(events: Table) -> Table:
    """Events by hour of the week."""
    weekday = (events.at_ms // DAY_MS + _EPOCH_WEEKDAY) % 7
    hour = events.at_ms % DAY_MS // HOUR_MS
    place = (weekday * 24 + hour).cast("int64")
    return events.group_by(value=place).aggregate(n=ibis._.count())


def funnel(events: Table) -> Table:
    """One row: sessions; with a view; also with a cart at or after the first one; also
    with a purchase at or after it."""
    whole = events.group_by("user_id", "session").aggregate(
        viewed_ms=ibis._.at_ms.min(where=ibis._.event_type == "view"),
        carted_ms=ibis._.at_ms.max(where=ibis._.event_type == "cart"),
        bought_ms=ibis._.at_ms.max(where=ibis._.event_type == "purchase"),
    )
    carted = (whole.carted_ms >= whole.viewed_ms).fill_null(False)
    bought = carted & (whole.bought_ms >= whole.viewed_ms).fill_null(False)
    return whole.aggregate(
        sessions=whole.count(),
        view=whole.viewed_ms.count(),
        cart=carted.cast("int64").sum(),
        purchase=bought.cast("int64").sum(),
    )


def cold(items: Table) -> Table:
    """Item events, and items, of the later parts on items that train does not have."""
    known = items.filter(items.split == TRAIN).select("item_id").distinct()
    unknown = items.filter(items.split != TRAIN).anti_join(known, "item_id")
    return unknown.group_by("split").aggregate(
        events=ibis._.count(), items=ibis._.item_id.nunique()
    )


def _value(row: Mapping[str, Any]) -> Any:
    return row["value"]


def _by_split(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    found = {row.pop("split"): row for row in rows}
    return {name: found[name] for name in SPLITS if name in found}


def _by_day(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    days: dict[str, dict[str, int]] = {}
    for row in sorted(rows, key=lambda row: (row["day"], row["split"])):
        days.setdefault(row["day"], {})[row["split"]] = row["n"]
    return days
