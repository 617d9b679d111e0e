"""What is asked of a whole log, as Ibis expressions: table in, table out, on any backend.

Everything counted is an integer, so that backends that add in different orders agree to the bit.
"""

from typing import Any

import ibis

from stream_app.prepare.columns import ORDER
from stream_app.prepare.config import HOUR_MS, TEST, TRAIN, VALIDATION

Table = Any  # Ibis publishes no usable type for "a table of whatever columns"


def rejected_reasons(clicks: Table) -> Table:
    """Rejected records by reason."""
    return clicks.filter(clicks.reason.notnull()).group_by("reason").aggregate(n=ibis._.count())


def accepted(clicks: Table) -> Table:
    """Clicks without the rejected, and each event id of a user once, its first time.

    The worker forgets ids that lie further back than its window; a log can look at all of them.
    """
    kept = clicks.filter(clicks.reason.isnull()).drop("reason")
    named = kept.filter(kept.event_id.notnull())
    window = ibis.window(group_by=["user_id", "event_id"], order_by=list(ORDER))
    first = named.mutate(nth=ibis.row_number().over(window)).filter(ibis._.nth == 0).drop("nth")
    return kept.filter(kept.event_id.isnull()).union(first)


def frequent(events: Table, column: str, least: int) -> Table:
    """Values of ``column`` (user_id or item_id) with at least ``least`` item events."""
    counted = events.filter(events.item_id.notnull()).group_by(column).aggregate(n=ibis._.count())
    return counted.filter(counted.n >= least).select(column)


def within(events: Table, users: Table | None, items: Table | None) -> Table:
    """Events of these users, and on these items or on none."""
    if users is not None:
        events = events.semi_join(users, "user_id")
    if items is not None:
        bare = events.filter(events.item_id.isnull())
        events = events.filter(events.item_id.notnull()).semi_join(items, "item_id").union(bare)
    return events


def counted_by(events: Table, step_ms: int, from_ms: int, to_ms: int) -> Table:
    """Events of a stretch of time by interval: its first millisecond, their number."""
    inside = events.filter((events.at_ms >= from_ms) & (events.at_ms < to_ms))
    begins = (inside.at_ms // step_ms * step_ms).cast("int64")
    return inside.group_by(begins_ms=begins).aggregate(n=ibis._.count())


def bounds(events: Table) -> Table:
    """One row: number of events, first and last time."""
    return events.aggregate(
        n=events.count(), first_ms=events.at_ms.min(), last_ms=events.at_ms.max()
    )


def ticks(events: Table) -> Table:
    """The first time of each hour that has events."""
    hour = (events.at_ms // HOUR_MS).cast("int64")
    return events.group_by(hour=hour).aggregate(at_ms=ibis._.at_ms.min())


def split_by_time(events: Table, validation_ms: int, test_ms: int) -> Table:
    """Events marked by the part that their time lies in."""
    part = ibis.cases(
        (events.at_ms >= test_ms, TEST), (events.at_ms >= validation_ms, VALIDATION), else_=TRAIN
    )
    return events.mutate(split=part)


def split_by_user(events: Table) -> Table:
    """Events marked by user: the last one with an item, and what follows it, is test, the one
    before validation. Users with fewer than three stay whole: nothing could be asked of them."""
    bearing = events.item_id.notnull().cast("int64")
    whole = ibis.window(group_by="user_id")
    ordered = ibis.window(
        group_by="user_id",
        order_by=[ibis.desc(name) for name in ORDER],
        preceding=None,
        following=0,
    )
    marked = events.mutate(
        behind=bearing.sum().over(ordered) - bearing, total=bearing.sum().over(whole)
    )
    part = ibis.cases(
        (marked.total < 3, TRAIN),
        (marked.behind == 0, TEST),
        (marked.behind == 1, VALIDATION),
        else_=TRAIN,
    )
    return marked.mutate(split=part).drop("behind", "total")


def values_of(events: Table, column: str) -> Table:
    """Values of a column in the part to learn from, with their numbers."""
    inside = events.filter((events.split == TRAIN) & events[column].notnull())
    return inside.group_by(value=inside[column].cast("float64")).aggregate(n=ibis._.count())


def per_split(events: Table) -> Table:
    """Events, users, sessions, items and times of each part."""
    # A session that lies on a cut has events in both parts, and counts in both.
    marked = events.mutate(whole=events.user_id + " " + events.session.cast("string"))
    return marked.group_by("split").aggregate(
        events=ibis._.count(),
        item_events=ibis._.item_id.count(),
        users=ibis._.user_id.nunique(),
        sessions=ibis._.whole.nunique(),
        items=ibis._.item_id.nunique(),
        first_ms=ibis._.at_ms.min(),
        last_ms=ibis._.at_ms.max(),
    )


def traits(events: Table) -> Table:
    """One row of what a model's shape and the choice of a split look at."""
    named = (events.session_id == events.user_id).fill_null(False)
    # Integers, whatever the backend makes of a sum.
    return events.aggregate(
        clicks=events.count(),
        users=events.user_id.nunique(),
        item_events=events.item_id.count(),
        with_session_id=events.session_id.count(),
        session_is_user=named.cast("int64").sum(),
        with_dwell=events.dwell_ms.count(),
        first_ms=events.at_ms.min(),
        last_ms=events.at_ms.max(),
    )


def distinct_pairs(events: Table) -> Table:
    """One row: pairs of a user and an item that the user had."""
    pairs = events.filter(events.item_id.notnull()).select("user_id", "item_id").distinct()
    return pairs.aggregate(pairs=pairs.count())


def commonest(events: Table, column: str, most: int) -> Table:
    """The most frequent values of a column, with their numbers."""
    there = events.filter(events[column].notnull())
    counted = there.group_by(column).aggregate(n=ibis._.count())
    return counted.order_by(ibis.desc("n"), column).limit(most)
