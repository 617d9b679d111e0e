"""Laws of verdicts and alerts over whole streams."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.calibration import save_calibration
from model.engine import OnnxEngine, open_engine
from stream_app.core.alerts import alert_id
from stream_app.core.batch import Route
from stream_app.core.clean import canonical_action
from stream_app.core.config import CoreConfig
from stream_app.core.judge import probability
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from tests.core.streams import (
    CONFIG,
    KEY,
    START_MS,
    TOPIC,
    clicks,
    decoded,
    event_batch,
    flows,
    in_time,
    played,
    records,
)
from tests.tiny_model import tiny_spec, write_tiny_model

Make = Callable[..., OnnxEngine]
RELAXED = settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
STREAMS = st.one_of(
    flows(90).map(lambda values: [value for value in values if value != b"rubbish"]),
    st.lists(clicks(users=3, items=34), min_size=20, max_size=90),
)
NEEDED = 25  # scores that a rate of 0.4 needs
Json = Mapping[str, Any]


def strange_streams() -> st.SearchStrategy[list[bytes | None]]:
    """Streams of mostly unknown items, so that the fallback comes and goes."""
    strange = clicks(users=3, items=90)
    return st.lists(st.one_of(strange, strange, records()), min_size=40, max_size=100)


@RELAXED
@given(
    values=strange_streams(),
    cuts=st.lists(st.integers(0, 150), max_size=5),
    crashes=st.lists(st.integers(0, 5), max_size=3),
)
def test_batching_and_crashes_change_no_verdict_while_most_items_are_unknown(
    values: list[bytes | None], cuts: list[int], crashes: list[int], tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with(ring_length=6)
    cuts = [min(cut, len(values)) for cut in cuts]
    single = played(values, [*range(1, len(values))], engine)
    assert played(values, cuts, engine, crashes=crashes)[:2] == single[:2]


def test_where_a_session_ends_decides_whether_its_close_is_scored(tiny_engine_with: Make) -> None:
    """Sessions end both before and after most items have become unknown."""
    engine = tiny_engine_with()
    values = [
        msgspec.json.encode(
            {
                "user_id": f"{'u' if n < 200 else 'v'}{n % 40}",
                "timestamp": START_MS + n * 120_000,
                "item_id": f"{'i' if n < 200 else 'x'}{n * 7 % 30}",
            }
        )
        for n in range(500)
    ]
    single = played(values, [*range(1, 500)], engine)[0]
    assert played(values, [], engine)[0] == single
    closes = [a for a in decoded(single["anomalies"]) if a["kind"] == "session_close"]
    assert closes
    assert max(a["source"]["offset"] for a in closes) < 400


@RELAXED
@given(values=STREAMS)
def test_verdicts_are_uncalibrated_until_the_rate_can_be_promised(
    values: list[bytes], tiny_engine_with: Make
) -> None:
    outputs, _, _ = played(values, [], tiny_engine_with())
    predictions = [
        p for p in decoded(outputs["predictions"]) if p["fallback"] is None and p["revision"] == 0
    ]
    for number, prediction in enumerate(predictions):
        verdict = prediction["anomaly"]
        if number < NEEDED:
            assert (verdict["state"], verdict["p_value"]) == ("uncalibrated", None)
        else:
            flagged = verdict["p_value"] <= CONFIG.alert_rate
            assert verdict["state"] == ("anomalous" if flagged else "normal")
            assert 1 / (len(values) + 1) - 1e-6 <= verdict["p_value"] <= 1
        assert verdict["score"] >= 0


def by_record(
    values: list[bytes], engine: OnnxEngine
) -> Iterator[tuple[int, list[Json], list[Json]]]:
    """Offset, predictions and anomalies of each record."""
    store, route = PartitionStore(0, engine, CONFIG), Route(engine.version)
    for offset, value in enumerate(values):
        out = play(event_batch([value], offset), store, {engine.version: engine}, route)
        predictions = decoded([(r.key, r.value) for r in out.predictions])[:1]  # no corrections
        yield offset, predictions, decoded([(r.key, r.value) for r in out.anomalies])


@RELAXED
@given(values=STREAMS)
def test_an_alert_opens_with_an_anomalous_verdict_and_only_then(
    values: list[bytes], tiny_engine_with: Make
) -> None:
    is_open: dict[str, str] = {}  # user -> alert
    known = set[str]()
    learned = 0  # scores of events that no open alert of their user explains
    for offset, predictions, anomalies in by_record(values, tiny_engine_with()):
        ends = [a for a in anomalies if a["event_id"].startswith("close-")]
        own = [a for a in anomalies if a not in ends]
        for anomaly in ends:
            if anomaly["kind"] == "surprise":
                assert anomaly["phase"] == "close"
                assert is_open.pop(anomaly["user"]) == anomaly["alert_id"]
        was_open = {prediction["user"] for prediction in predictions} & is_open.keys()
        for anomaly in own:
            (prediction,) = predictions
            assert_of_one_event(anomaly, prediction)
            user = anomaly["user"]
            if anomaly["phase"] == "open":
                assert user not in is_open
                assert anomaly["alert_id"] not in known
                is_open[user] = alert_id("surprise", bytes.fromhex(user), TOPIC, 0, offset)
                known.add(is_open[user])
                assert anomaly["opened_ms"] == anomaly["at_ms"]
            assert anomaly["calibration"] == learned >= NEEDED
            assert anomaly["threshold"] == CONFIG.alert_rate
            assert is_open[user] == anomaly["alert_id"]
            if anomaly["phase"] == "close":
                del is_open[user]
        for prediction in predictions:
            is_anomalous = prediction["anomaly"]["state"] == "anomalous"
            phases = [anomaly["phase"] for anomaly in own]
            if is_anomalous:
                assert phases in (([], ["raise"]) if was_open else (["open"],))
            else:
                assert phases in ([], ["close"])
            learned += not was_open


def assert_of_one_event(anomaly: Json, prediction: Json) -> None:
    for name in ("event_id", "user", "source", "at_ms", "model"):
        assert anomaly[name] == prediction[name]
    assert anomaly["p_value"] == prediction["anomaly"]["p_value"]
    assert anomaly["score"] >= prediction["anomaly"]["score"]


@RELAXED
@given(values=flows(90, items=3), reset=st.booleans())
def test_reasons_name_what_happened_and_what_was_expected_instead(
    values: list[bytes | None], reset: bool, tiny_engine_with: Make
) -> None:
    # With few items an action is often the larger surprise.
    engine = tiny_engine_with(reset_at_session=reset, item_count=3, top_k=3)
    values = in_time(values)
    outputs, _, _ = played(values, [], engine)
    last_of: dict[int, Json] = {}  # offset -> the same user's prediction before it
    newest: dict[str, Json] = {}
    for prediction in decoded(outputs["predictions"]):
        if prediction["user"] in newest:
            last_of[prediction["source"]["offset"]] = newest[prediction["user"]]
        newest[prediction["user"]] = prediction
    for anomaly in decoded(outputs["anomalies"]):
        reasons, offset = anomaly["reasons"], anomaly["source"]["offset"]
        if anomaly["phase"] == "close":
            assert reasons == []
            continue
        surprises = [-np.log(max(reason["probability"], 1e-6)) for reason in reasons]
        assert 1 <= len(reasons) <= 2
        assert surprises == sorted(surprises, reverse=True)
        if len(reasons) == 2 and max(surprises) < 11:  # rounding hides larger ones
            assert min(surprises) >= 0.199 * sum(surprises)
        event = msgspec.json.decode(values[offset] or b"")
        for reason in reasons:
            if reason["what"] == "item":
                assert reason["observed"] == event["item_id"]
            elif reason["what"] == "action":
                action = canonical_action(event.get("event_type"))
                known = action if action in engine.spec.actions else "other"
                assert reason["observed"] == known
            if anomaly["kind"] == "surprise" and reason["expected"]:
                assert_alternatives(reason, last_of[offset])
            elif anomaly["kind"] == "surprise":
                assert reset or offset not in last_of


def assert_alternatives(reason: Json, last: Json) -> None:
    """They are what the user's last prediction held likeliest, to half a precision."""
    if last["fallback"] is None and reason["what"] == "item":
        expected = [(item["item_id"], item["probability"]) for item in last["items"][:3]]
    elif reason["what"] == "action":
        expected = sorted(last["actions"].items(), key=lambda pair: -pair[1])[:3]
    else:
        return
    found = [(other["value"], other["probability"]) for other in reason["expected"]]
    assert [p for _, p in found] == pytest.approx([p for _, p in expected], rel=0.01, abs=1e-5)
    if len({p for _, p in expected}) == 3:
        assert [name for name, _ in found] == [name for name, _ in expected]


def calibrated_model(
    directory: Path, scores: Mapping[str, Sequence[float]], seed: int = 0
) -> OnnxEngine:
    write_tiny_model(directory, tiny_spec(), seed)
    save_calibration(
        directory, {kind: np.array(values, np.float32) for kind, values in scores.items()}
    )
    return open_engine(directory)


@pytest.fixture(scope="module")
def wary_engine(tmp_path_factory: pytest.TempPathFactory) -> OnnxEngine:
    """To whom every close is a surprise, though it often expects one."""
    directory = tmp_path_factory.mktemp("wary")
    scores = {"surprise": [3.0] * 25, "session_close": [0.0] * 25}
    return calibrated_model(directory, scores, seed=5)


@RELAXED
@given(values=STREAMS, users=st.sampled_from([1, 2, 100]))
def test_a_surprising_close_is_an_alert_of_its_own_that_is_over_at_once(
    values: list[bytes], users: int, wary_engine: OnnxEngine
) -> None:
    config = msgspec.structs.replace(CONFIG, max_users_per_partition=users)
    far = msgspec.json.encode(
        {"event_type": "_heartbeat", "timestamp": START_MS + 200 * 86_400_000}
    )
    outputs, _, total = played([*values, far], [], wary_engine, config)
    closes = [a for a in decoded(outputs["anomalies"]) if a["kind"] == "session_close"]
    for opened, closed in zip(closes[::2], closes[1::2], strict=True):
        assert (opened["phase"], closed["phase"]) == ("open", "close")
        same = ("alert_id", "user", "event_id", "source", "at_ms", "score", "p_value")
        assert [opened[name] for name in same] == [closed[name] for name in same]
        assert opened["p_value"] <= CONFIG.alert_rate
        (reason,) = opened["reasons"]
        assert (reason["what"], reason["observed"]) == ("session_close", "_close")
        assert "_close" not in [other["value"] for other in reason["expected"]]
    ids = [a["alert_id"] for a in closes]
    assert len(set(ids)) == len(ids) / 2
    assert bool(closes) == bool(total.closed_sessions)
    phases: dict[str, list[str]] = {}
    for anomaly in decoded(outputs["anomalies"]):
        phases.setdefault(anomaly["alert_id"], []).append(anomaly["phase"])
    # Once every session has ended, or its user was forgotten, nothing is open any more.
    assert all((seen[0], seen[-1]) == ("open", "close") for seen in phases.values())


def test_shipped_scores_calibrate_the_first_event(tmp_path: Path) -> None:
    engine = calibrated_model(tmp_path, {"surprise": [0.0] * 24, "session_close": [0.0] * 25})
    config = CoreConfig(pseudonym_key=KEY, alert_rate=0.4)
    value = msgspec.json.encode({"user_id": "u", "timestamp": START_MS, "item_id": "i1"})
    outputs, _, _ = played([value, value], [], engine, config)
    first, second = decoded(outputs["predictions"])
    assert first["anomaly"]["state"] == "uncalibrated"  # 24 of 25 scores
    assert second["anomaly"]["state"] == "anomalous"
    assert second["anomaly"]["p_value"] in (round(1 / 26, 6), round(2 / 26, 6))
    (anomaly,) = decoded(outputs["anomalies"])
    assert anomaly["calibration"] == 25
    assert anomaly["phase"] == "open"


def test_a_log_probability_is_a_share_of_six_decimals() -> None:
    assert probability(0.0) == 1
    assert probability(1e-9) == 1
    assert probability(-1.0) == 0.367879
    assert probability(-1000.0) == 0
