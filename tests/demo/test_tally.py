"""The demo's counting: joins in any order, hits against the prediction before, alerts by phase."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.events import (
    Anomaly,
    Prediction,
    RankedItem,
    RejectedRecord,
    Source,
    Verdict,
)
from stream_app.demo.tally import Seen, Tally


def prediction(offset: int, items: list[str], user: str = "u") -> Prediction:
    return Prediction(
        event_id=f"e{offset}",
        user=user,
        source=Source("events", 0, offset),
        at_ms=0,
        revision=0,
        model="m",
        arm="live",
        as_of=0,
        items=[RankedItem(item, 0.1) for item in items],
        actions={"view": 1.0},
        cart=None,
        purchase=None,
        next_event_ms=None,
        anomaly=Verdict("normal", 1.0, 0.5),
    )


def anomaly(phase: str) -> Anomaly:
    fields = {
        "alert_id": "a",
        "user": "u",
        "kind": "surprise",
        "phase": phase,
        "event_id": "e",
        "source": {"topic": "events", "partition": 0, "offset": 1},
        "at_ms": 1,
        "opened_ms": 1,
        "events": 1,
        "score": 9.0,
        "p_value": 0.0001,
        "calibration": 10_000,
        "threshold": 0.001,
        "model": "m",
        "reasons": [],
    }
    return msgspec.convert(fields, Anomaly)


def test_an_item_is_a_hit_when_the_prediction_before_named_it() -> None:
    tally = Tally()
    for offset, (item, foretold) in enumerate([("a", ["b"]), ("b", ["c"]), ("x", ["y"])]):
        tally.event(0, offset, Seen(item, "view", 0))
        tally.prediction(prediction(offset, foretold), 10.0)
    assert tally.figures(20.0).hit_rate == 0.5


@given(events_first=st.lists(st.booleans(), min_size=1, max_size=20))
def test_events_and_predictions_meet_in_either_order(events_first: list[bool]) -> None:
    tally = Tally()
    for offset, first in enumerate(events_first):
        seen, said = Seen("a", "view", 5), prediction(offset, ["a"])
        if first:
            tally.event(0, offset, seen)
            tally.prediction(said, 12.0)
        else:
            tally.prediction(said, 12.0)
            tally.event(0, offset, seen)
    figures = tally.figures(13.0)
    assert (figures.p50_ms, figures.p99_ms) == (7.0, 7.0)
    assert tally.predicted == len(events_first)
    assert figures.hit_rate == (1.0 if len(events_first) > 1 else None)


def test_alerts_are_open_between_their_phases() -> None:
    tally = Tally()
    tally.anomaly(anomaly("open"))
    tally.anomaly(anomaly("raise"))
    assert (tally.alerts_opened, len(tally.open_alerts)) == (1, 1)
    tally.anomaly(anomaly("close"))
    assert (tally.alerts_opened, len(tally.open_alerts)) == (1, 0)


def test_refusals_are_counted_by_reason() -> None:
    tally = Tally()
    tally.event(0, 3, Seen("a", "view", 5))
    tally.refusal(RejectedRecord("late", "", "events", 0, 3, -1, None, 0, None, 0, "", headers=[]))
    assert (tally.rejected, tally.reasons) == (1, {"late": 1})
    assert tally.figures(1.0).p50_ms is None


def test_a_correction_counts_as_nothing_and_changes_what_was_foretold() -> None:
    tally = Tally()
    tally.event(0, 1, Seen("a", "view", 5))
    tally.prediction(prediction(1, ["x"]), 6.0)
    tally.prediction(msgspec.structs.replace(prediction(1, ["b"]), revision=1), 7.0)
    tally.event(0, 2, Seen("b", "view", 8))
    tally.prediction(prediction(2, ["c"]), 9.0)
    assert tally.predicted == len(tally.latest) == 2
    assert tally.figures(10.0).hit_rate == 1.0
