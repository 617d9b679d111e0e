"""From which offset on which route was in force, partition by partition, as a worker recorded it.

A replay that follows the schedule makes what the worker made, whatever was ordered while it ran and
however far it fell behind.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import msgspec

from model.spec import Engine
from stream_app.core.batch import Route
from stream_app.core.events import Prediction
from stream_app.core.partition_record import PARTITION_KEY, ROUTE_FIELDS, PartitionRecord
from stream_app.orders import Ledger


class ScheduleError(ValueError):
    """What should be followed cannot be; the message says why and what to do."""

    exit_code: ClassVar[int] = 2


class Leg(NamedTuple):
    """A route that is in force from a source offset on, until the next leg. ``route`` lacks what
    follows from the side inputs."""

    offset: int
    route: Route


Schedule = Mapping[int, Sequence[Leg]]
"""Legs by partition, in the order in which they were recorded."""


class Kept(NamedTuple):
    """A record of the topic that tells the schedule, as far as it matters."""

    partition: int
    key: bytes | None
    value: bytes | None


def schedule_of(records: Iterable[Kept]) -> dict[int, list[Leg]]:
    """The schedule in a changelog, or in a predictions topic.

    A changelog tells it exactly, as far back as it is not compacted. Predictions name the offset of
    the first event under a new route, not of the rejected records and heartbeats before it, and
    know nothing of the catalogue: there it is taken whole.

    Raises:
        ScheduleError: a record is neither.
    """
    legs: dict[int, list[Leg]] = {}
    for record in records:
        leg = _leg(record)
        known = legs.setdefault(record.partition, [])
        if leg is not None and (not known or known[-1].route != leg.route):
            known.append(leg)
    if not any(legs.values()):
        raise ScheduleError(
            "There is no route to follow: neither a state's changelog nor predictions were given."
        )
    return legs


def _leg(record: Kept) -> Leg | None:
    if record.key == PARTITION_KEY:
        return _recorded(record)
    if (record.value or b"").startswith(b'{"event_id"'):
        return _predicted(record)
    return None


def _recorded(record: Kept) -> Leg:
    try:
        kept = msgspec.msgpack.decode(record.value or b"", type=PartitionRecord)
    except msgspec.MsgspecError as error:
        raise ScheduleError(
            f"The changelog's record of partition {record.partition} cannot be read ({error}); use"
            " the version that wrote it."
        ) from None
    fields = {name: getattr(kept, name) for name in ROUTE_FIELDS}
    return Leg(kept.next_offset, Route(**{**fields, "live": kept.live or kept.model}))


def _predicted(record: Kept) -> Leg | None:
    try:
        made = msgspec.json.decode(record.value or b"", type=Prediction)
    except msgspec.MsgspecError as error:
        raise ScheduleError(
            f"A prediction of partition {record.partition} cannot be read: {error}"
        ) from None
    if made.revision:
        return None
    route = Route(
        live=made.model,
        arm=made.arm,
        as_of=made.as_of,
        items_as_of=_WHOLE,
        degraded=made.degraded,
    )
    return Leg(made.source.offset, route)


_WHOLE = 1 << 62
"""Above every offset."""


class Course:
    """A schedule with what it takes to sail it: side inputs and open models."""

    def __init__(self, schedule: Schedule, ledger: Ledger, engines: Mapping[str, Engine]) -> None:
        missing = sorted(
            {leg.route.live for legs in schedule.values() for leg in legs} - engines.keys()
        )
        if missing:
            raise ScheduleError(
                f"The schedule names models that are not there: {', '.join(missing)}. Give their"
                " registry with --models."
            )
        needed = max((leg.route.as_of for legs in schedule.values() for leg in legs), default=0)
        if needed > ledger.orders.as_of:
            raise ScheduleError(
                f"The schedule follows orders up to offset {needed}, but only those below"
                f" {ledger.orders.as_of} are given: dump clickahead.control and give it with"
                " --control."
            )
        self.engines = engines
        self._schedule, self._ledger = schedule, ledger
        self._next: dict[int, int] = {}

    def take(self, partition: int, offset: int) -> Leg | None:
        """The next leg of a partition, if it begins at or before an offset; whole, and once."""
        legs, number = self._schedule.get(partition, ()), self._next.get(partition, 0)
        if number >= len(legs) or legs[number].offset > offset:
            return None
        self._next[partition] = number + 1
        leg = legs[number]
        blocked, erasures = self._ledger.at(leg.route.as_of, leg.route.items_as_of)
        # A shadow leaves no trace in outputs or state.
        whole = msgspec.structs.replace(leg.route, blocked=blocked, erasures=erasures)
        return leg._replace(route=whole)

    @property
    def partitions(self) -> Iterable[int]:
        return self._schedule.keys()
