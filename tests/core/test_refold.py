"""The law of late events: in whatever order a user's events arrive, what is known in the end is
what it would be had they come in time."""

from collections.abc import Callable, Sequence
from itertools import pairwise
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
        place = self.store.slots[self.store.pseudonym(user)]
        return self.store.rows[place : place + 1]

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


def assert_same_user(found: Told, expected: Told, user: str) -> None:
    mine, theirs = found.row(user), expected.row(user)
    assert events_of(mine) == events_of(theirs)
    for name in mine.dtype.names or ():
        if name not in BY_ARRIVAL:
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
