"""The law of late events: in whatever order a user's events arrive, what is known in the end is
what it would be had they come in time."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core import features, window
from stream_app.core.batch import OutputBatch, Route
from stream_app.core.config import CoreConfig
from stream_app.core.events import Prediction
from stream_app.core.pipeline import play
from stream_app.core.state import Rows
from stream_app.core.store import PartitionStore
from tests.core.streams import KEY, START_MS, event_batch
from tests.tiny_model import ACTIONS

Make = Callable[..., OnnxEngine]
FEATURES = features.names(ACTIONS)
DAY_MS, MINUTE_MS = 86_400_000, 60_000
CONFIG = CoreConfig(
    pseudonym_key=KEY, allowed_lateness_ms=DAY_MS, reservoir_size=256, alert_rate=0.4
)
RELAXED = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# What depends on the order of arrival, and has to: places in Kafka, revisions, alerts, and times
# relative to the first arrival.
BY_ARRIVAL = {"last_offset", "newest_offset", "revision", "ring_base_ms", "ring"}
BY_ARRIVAL |= {"alert_opened_ms", "alert_offset", "alert_events", "alert_quiet", "alert_severity"}
BY_ARRIVAL |= {"alert_peak"}


class Told(NamedTuple):
    """A stream told in one order of arrival."""

    store: PartitionStore
    predictions: list[Prediction]
    totals: OutputBatch

    def row(self, user: str) -> Rows:
        """As the changelog has it: where a full ring begins in memory tells of restarts."""
        place = self.store.slots[self.store.pseudonym(user)]
        codec = self.store.codec
        return codec.unpack(codec.pack(self.store.rows[place : place + 1])[0])

    def first(self) -> dict[str, Prediction]:
        return {p.event_id: p for p in self.predictions if p.revision == 0}

    def last_of(self, user: str) -> Prediction:
        """The last word on the user's newest event."""
        name = self.store.pseudonym(user).hex()
        own = [p for p in self.predictions if p.user == name]
        newest = max(own, key=lambda p: (p.at_ms, p.revision))
        assert newest.revision == self.row(user)["revision"][0]
        return newest


def told(
    events: Sequence[dict[str, Any]],
    engine: OnnxEngine,
    cuts: Sequence[int] = (),
    crashes: Sequence[int] = (),
) -> Told:
    store, predictions, totals = (
        PartitionStore(0, engine, CONFIG),
        list[Prediction](),
        OutputBatch(),
    )
    values = [msgspec.json.encode(event) for event in events]
    changelog: list[tuple[bytes, bytes | None]] = []
    bounds = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    for number, (start, end) in enumerate(pairwise(bounds)):
        batch = event_batch(values[start:end], start)
        out = play(batch, store, {engine.version: engine}, Route(engine.version))
        predictions += [msgspec.json.decode(r.value, type=Prediction) for r in out.predictions]
        totals.late += out.late
        totals.corrections += out.corrections
        totals.outcomes = {n: c + out.outcomes[n] for n, c in totals.outcomes.items()}
        changelog += store.take_changes()
        if number in crashes:
            store = PartitionStore(0, engine, CONFIG)
            store.restore(changelog)
            store.recovered()
    return Told(store, predictions, totals)


def events_of(row: Rows) -> list[tuple[Any, ...]]:
    """A ring's events in its own order, with their true times."""
    used = int(row["used"][0])
    places = window.by_rank(row)[0][:used]
    times = window.times_ms(row)[0][places].tolist()
    return [
        (at, *entry[:1], *entry[2:])
        for at, entry in zip(times, row["ring"][0][places].tolist(), strict=True)
    ]


def assert_same_user(found: Told, expected: Told, user: str, besides: Collection[str] = ()) -> None:
    mine, theirs = found.row(user), expected.row(user)
    assert events_of(mine) == events_of(theirs)
    for name in mine.dtype.names or ():
        if name not in BY_ARRIVAL and name not in besides:
            assert mine[name].tobytes() == theirs[name].tobytes(), name
    assert said(found.last_of(user)) == said(expected.last_of(user))


def said(prediction: Prediction) -> Prediction:
    """A prediction without what depends on arrival: its place, its revision, and how rare its score
    was among those learned so far."""
    verdict = msgspec.structs.replace(prediction.anomaly, state="normal", p_value=None)
    source = msgspec.structs.replace(prediction.source, offset=0)
    return msgspec.structs.replace(prediction, source=source, revision=0, anomaly=verdict)


@st.composite
def histories(draw: st.DrawFn, most: int, named: bool = False) -> list[dict[str, Any]]:
    """One user's events in the order of their time: within sessions and over their ends, known and
    unknown items, no two at one time."""
    moves = st.sampled_from(
        [1, 900, 9_000, 100_000, 20 * MINUTE_MS, 29 * MINUTE_MS, 31 * MINUTE_MS]
    )
    drawn = draw(
        st.lists(
            st.tuples(
                moves,
                st.none() | st.integers(0, 45),
                st.sampled_from(ACTIONS[1:]),
                st.none() | st.sampled_from([0, 999, 1_000, 50_000, DAY_MS]),
            ),
            min_size=1,
            max_size=most,
        )
    )
    at_ms, events = START_MS, list[dict[str, Any]]()
    for number, (move, item, action, dwell_ms) in enumerate(drawn):
        at_ms += move
        event = {"user_id": "u", "timestamp": at_ms, "event_id": f"e{number}", "event_type": action}
        event |= {} if item is None else {"item_id": f"i{item}"}
        event |= {} if dwell_ms is None else {"dwell_ms": dwell_ms}
        events.append(event | ({"session_id": "s"} if named else {}))
    return events


CUTS = st.lists(st.integers(1, 40), max_size=5)


@RELAXED
@given(events=histories(12), data=st.data(), reset=st.booleans(), cuts=CUTS, named=st.booleans())
def test_any_order_of_arrival_ends_where_the_order_of_time_does(
    events: list[dict[str, Any]],
    data: st.DataObject,
    reset: bool,
    cuts: list[int],
    named: bool,
    tiny_engine_with: Make,
) -> None:
    """While a ring holds a user's whole history: sessions by gap, or one by id, any model."""
    engine = tiny_engine_with(features=FEATURES, ring_length=12, reset_at_session=reset)
    if named:
        events = [event | {"session_id": "s"} for event in events]
    arrived = data.draw(st.permutations(events))
    expected, found = told(events, engine), told(arrived, engine, cuts, range(0, 9, 2))
    assert found.totals.outcomes["predicted"] == len(events)
    assert_same_user(found, expected, "u")
    newest = [e["timestamp"] for e in arrived]
    late = sum(at < max(newest[:n], default=0) for n, at in enumerate(newest))
    assert found.totals.late == found.totals.corrections == late
    assert len(found.predictions) == len(events) + late


@RELAXED
@given(events=histories(12), data=st.data(), reset=st.booleans())
def test_a_late_event_is_answered_as_if_it_had_come_in_time(
    events: list[dict[str, Any]], data: st.DataObject, reset: bool, tiny_engine_with: Make
) -> None:
    """Its own prediction is that of the arrival in time of all that came before it by then."""
    engine = tiny_engine_with(features=FEATURES, ring_length=12, reset_at_session=reset)
    arrived = data.draw(st.permutations(events))
    first = told(arrived, engine).first()
    for number, event in enumerate(arrived):
        known = sorted(arrived[: number + 1], key=lambda e: int(e["timestamp"]))
        place = known.index(event)
        in_time = told(known[: place + 1], engine).first()[event["event_id"]]
        assert said(first[event["event_id"]]) == said(in_time)


RING, GAP_MS = 8, 1_800_000

# Features that ask for no more of the past than memory and the event itself do.
MEMORY_ONLY = ("hour_sin", "weekday_cos", "dwell")


class Known(NamedTuple):
    """What a full ring of 8 is the end of, when an event has come late that it took in."""

    events: list[dict[str, Any]]  # by time
    place: int  # of the late one

    @property
    def oldest(self) -> int:
        """The place of the oldest event that the ring still holds."""
        return max(len(self.events) - RING, 0)

    def start(self, place: int) -> int:
        """The place where the session of the event at a place starts."""
        times = [int(event["timestamp"]) for event in self.events[: place + 1]]
        pauses = [n + 1 for n, (a, b) in enumerate(pairwise(times)) if b - a >= GAP_MS]
        return max(pauses, default=0)

    def is_folded_from_where_it_began(self, reset: bool) -> bool:
        """From the anchor, which is at every 4th event, from the start of a session that resets
        memory, or from the user's first event."""
        anchor = (len(self.events) - 1) // (RING // 2) * (RING // 2)
        start = self.start(self.place) if reset else 0
        return self.place >= anchor or start >= self.oldest

    def lost_start(self) -> int | None:
        """Where the session at hand starts, if the late event has joined it to one whose start the
        ring no longer holds."""
        before = Known(self.events[: self.place] + self.events[self.place + 1 :], 0)
        was, joined = before.start(len(before.events) - 1), self.start(len(self.events) - 1)
        is_joined = joined < self.place <= was and joined < self.oldest
        return int(self.events[joined]["timestamp"]) if is_joined else None

    def is_scored_whole(self, window_ms: int) -> bool:
        """Whether the ring holds whatever the late event's score looks at."""
        at_ms = int(self.events[self.place]["timestamp"])
        lost = self.events[max(self.place - RING + 1, 0) : self.oldest]
        return all(int(event["timestamp"]) <= at_ms - window_ms for event in lost)


def taken_in(arrived: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Known]]:
    """The events that are not too late for a ring, by time, and what each late one met."""
    events, lates = list[dict[str, Any]](), list[Known]()
    for event in arrived:
        place = bisect_left(events, event["timestamp"], key=itemgetter("timestamp"))
        if len(events) >= RING and place <= len(events) - RING:
            continue
        events.insert(place, event)
        if place < len(events) - 1:
            lates.append(Known(list(events), place))
    return events, lates


@st.composite
def delayed(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A history that outgrows the ring; some of its events come up to ten places late."""
    events = draw(histories(40))
    delay = st.sampled_from([0, 0, 0, 0, 0, 1, 1, 2, 4, 10])
    places = [n + 1.5 * draw(delay) for n in range(len(events))]
    return [events[n] for n in sorted(range(len(events)), key=places.__getitem__)]


@RELAXED
@given(arrived=delayed(), reset=st.booleans(), cuts=CUTS)
def test_what_an_overflowed_ring_still_knows_is_exact(
    arrived: list[dict[str, Any]], reset: bool, cuts: list[int], tiny_engine_with: Make
) -> None:
    """In any batches, over any crash: memory and predictions, as long as every fold began with the
    memory that its first event met; a late event's score, where the ring reaches back over its
    window, else the largest that the ring holds; the session at hand, but for its beginning where
    that is found to lie before the ring, and then what the ring holds of it."""
    engine = tiny_engine_with(features=MEMORY_ONLY, ring_length=RING, reset_at_session=reset)
    found, whole = told(arrived, engine, cuts, range(0, 9, 2)), told(arrived, engine)
    assert found.predictions == whole.predictions
    assert found.row("u").tobytes() == whole.row("u").tobytes()

    events, lates = taken_in(arrived)
    assert found.totals.outcomes["predicted"] == len(events)
    assert found.totals.late == len(lates)
    expected = told(events, engine)
    assert_same_session(found.row("u"), expected.row("u"), lates, Known(events, 0))
    for known in lates:
        if not known.is_folded_from_where_it_began(reset):
            break
        late = known.events[known.place]["event_id"]
        said_late = said(found.first()[late])
        in_time = said(told(known.events[: known.place + 1], engine).first()[late])
        if not known.is_scored_whole(engine.spec.window_ms):
            assert said_late.anomaly.score <= in_time.anomaly.score
            in_time = msgspec.structs.replace(in_time, anomaly=said_late.anomaly)
        assert said_late == in_time
    else:
        assert_same_user(found, expected, "u", besides=SESSION)


# What a late event can find out about the session at hand.
SESSION = {"session_events", "session_started_ms"}


def assert_same_session(mine: Rows, theirs: Rows, lates: list[Known], end: Known) -> None:
    start = end.start(len(end.events) - 1)
    events, started_ms = (int(mine[name][0]) for name in ("session_events", "session_started_ms"))
    held = len(end.events) - max(start, end.oldest)
    assert mine["sessions_total"] == theirs["sessions_total"]
    if int(end.events[start]["timestamp"]) in {known.lost_start() for known in lates}:
        assert held <= events < theirs["session_events"][0]
        assert theirs["session_started_ms"][0] < started_ms <= end.events[-held]["timestamp"]
    else:
        assert events == theirs["session_events"][0]
        assert started_ms == theirs["session_started_ms"][0]


def is_late(event: dict[str, Any], arrived: Sequence[dict[str, Any]]) -> bool:
    before = arrived[: list(arrived).index(event)]
    return any(other["timestamp"] > event["timestamp"] for other in before)


def test_late_events_of_many_users_are_folded_together(tiny_engine_with: Make) -> None:
    """Users of different lengths, all late in one batch, next to users who are not."""
    engine = tiny_engine_with(features=FEATURES, ring_length=12)
    events = [
        {
            "user_id": f"u{user}",
            "timestamp": START_MS + n * 7_000 + user,
            "event_id": f"e{user}-{n}",
            "item_id": f"i{(n * 5 + user) % 33}",
        }
        for n in range(12)
        for user in range(8)
        if n <= user + 3
    ]
    late = [event for n, event in enumerate(events) if n % 5 == 3]
    arrived = [event for event in events if event not in late] + late
    expected = told(events, engine)
    for cuts in ([], [*range(1, len(arrived))]):
        found = told(arrived, engine, cuts)
        for user in range(8):
            assert_same_user(found, expected, f"u{user}")
    assert found.totals.late == len([e for e in late if is_late_of_user(e, arrived)])


def is_late_of_user(event: dict[str, Any], arrived: Sequence[dict[str, Any]]) -> bool:
    return is_late(event, [other for other in arrived if other["user_id"] == event["user_id"]])


def click(at_ms: int, **fields: Any) -> dict[str, Any]:
    return {"user_id": "u", "timestamp": START_MS + at_ms, **fields}


def test_what_is_older_than_a_full_ring_or_the_lateness_leaves_no_trace(
    tiny_engine_with: Make,
) -> None:
    engine = tiny_engine_with(features=FEATURES, ring_length=4)
    events = [click(1_000 * n) for n in range(2, 8)]
    before = told(events, engine)
    for at_ms in (0, 3_999, -DAY_MS):
        after = told([*events, click(at_ms)], engine)
        assert after.totals.outcomes["rejected"] == 1
        assert after.totals.late == 0
        assert after.row("u").tobytes() == before.row("u").tobytes()


def test_a_correction_names_the_newest_event_after_a_crash_whatever_its_id(
    tiny_engine_with: Make,
) -> None:
    engine = tiny_engine_with()
    for event_id in ("e", "a" * 36, "long " * 20, "ends in \0", None):
        named = {} if event_id is None else {"event_id": event_id}
        events = [click(0), click(9_000, **named), click(2_000), click(1_000)]
        for cuts, crashes in (([], []), ([1, 2, 3], [0, 1, 2, 3])):
            found = told(events, engine, cuts, crashes)
            corrections = [p for p in found.predictions if p.revision]
            assert [p.revision for p in corrections] == [1, 2]
            assert {p.event_id for p in corrections} == {event_id or "clickahead.events-0-1"}
            assert {(p.source.offset, p.at_ms) for p in corrections} == {(1, START_MS + 9_000)}


def test_a_late_event_opens_no_closed_session_again(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with()
    beat = {"event_type": "_heartbeat", "timestamp": START_MS + 9_000 + 30 * MINUTE_MS}
    found = told([click(0), click(9_000), beat, click(2_000)], engine)
    assert found.row("u")["session_open"][0] == 0
    assert found.row("u")["session_events"][0] == 3
    assert found.totals.late == 1


def test_alerts_stay_and_a_correction_teaches_the_reservoir_nothing(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with()
    events = [click(1_000 * n, item_id=f"i{n % 30}") for n in range(60)]
    before = told(events, engine)
    after = told([*events, click(30_500, item_id="i7")], engine)
    assert len(before.store.reservoirs["surprise"]) + 1 >= len(after.store.reservoirs["surprise"])
    assert after.totals.corrections == 1
