"""Laws of what goes out: predictions, the fallback, and dead letters."""

from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.batch import EventBatch, OutputBatch, Route
from stream_app.core.clean import Rejected
from stream_app.core.decide import MAX_REJECTED_BYTES, rejected_record
from stream_app.core.events import Anomaly, Prediction, RejectedRecord
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from tests.core.streams import CONFIG, START_MS, TOPIC, event_batch, flows, played, records

Make = Callable[..., OnnxEngine]
RELAXED = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
STREAMS: st.SearchStrategy[list[bytes | None]] = st.one_of(
    st.lists(records(), max_size=80), flows()
)


def play_all(
    values: list[bytes | None], engine: OnnxEngine, route: Route | None = None
) -> OutputBatch:
    store, own = PartitionStore(0, engine, CONFIG), Route(engine.version)
    play(event_batch([]), store, {engine.version: engine}, own, next_route=route)
    return play(event_batch(values), store, {engine.version: engine}, route or own)


@RELAXED
@given(values=STREAMS)
def test_predictions_are_sound(values: list[bytes | None], tiny_engine_with: Make) -> None:
    engine = tiny_engine_with()
    spec, route = engine.spec, Route(engine.version, "shadow", 17)
    out = play_all(values, engine, route)
    last_row, newest = -1, dict[str, Prediction]()
    for record in out.predictions:
        prediction = msgspec.json.decode(record.value, type=Prediction)  # probabilities: 0 to 1
        assert msgspec.json.encode(prediction) == record.value
        if prediction.revision > 0:
            assert record.row == last_row
            assert_corrects(prediction, newest[prediction.user])
            newest[prediction.user] = prediction
            continue
        assert record.row == prediction.source.offset > last_row
        if prediction.user not in newest or prediction.at_ms >= newest[prediction.user].at_ms:
            newest[prediction.user] = prediction
        assert record.key == prediction.user.encode()
        assert len(bytes.fromhex(prediction.user)) == 16
        assert (prediction.source.topic, prediction.source.partition) == (TOPIC, 0)
        assert (prediction.model, prediction.arm, prediction.as_of) == (
            engine.version,
            "shadow",
            17,
        )
        event = msgspec.json.decode(values[record.row] or b"")
        default = f"{TOPIC}-0-{prediction.source.offset}"
        assert prediction.event_id == event.get("event_id", default)
        assert prediction.at_ms == event["timestamp"]
        assert [*prediction.actions] == [*spec.actions]
        assert sum(prediction.actions.values()) == pytest.approx(1, abs=1e-4)
        shares = [item.probability for item in prediction.items]
        if prediction.fallback is None:
            assert len(shares) == spec.top_k
            assert shares == sorted(shares, reverse=True)
        assert len({item.item_id for item in prediction.items}) == len(shares)
        assert sum(shares) <= 1 + 1e-4
        assert prediction.next_event_ms is not None
        assert 0 <= prediction.next_event_ms <= 1.5 * spec.gap_edges_ms[-1]
        last_row = record.row


def assert_corrects(correction: Prediction, newest: Prediction) -> None:
    """A correction is about its user's newest event."""
    assert correction.revision == newest.revision + 1
    for name in ("event_id", "user", "source", "at_ms", "model", "arm", "as_of"):
        assert getattr(correction, name) == getattr(newest, name)


@RELAXED
@given(values=STREAMS)
def test_counts_are_those_of_the_records(
    values: list[bytes | None], tiny_engine_with: Make
) -> None:
    out = play_all(values, tiny_engine_with())
    predictions = [msgspec.json.decode(r.value, type=Prediction) for r in out.predictions]
    first = [prediction for prediction in predictions if prediction.revision == 0]
    assert out.outcomes["predicted"] == len(first) == len(predictions) - out.corrections
    assert out.late == out.corrections
    assert out.outcomes["rejected"] == len(out.rejected)
    letters = [msgspec.json.decode(record.value, type=RejectedRecord) for record in out.rejected]
    assert out.reject_reasons == Counter(letter.reason for letter in letters)
    alerts = [msgspec.json.decode(record.value, type=Anomaly) for record in out.anomalies]
    assert out.flags == Counter(alert.kind for alert in alerts if alert.phase == "open")
    for kept in (out.predictions, out.anomalies, out.rejected):
        assert [record.row for record in kept] == sorted(record.row for record in kept)
    assert out.fallbacks == sum(prediction.fallback is not None for prediction in first)


def test_what_training_never_saw_is_not_predicted(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with(actions=("_close", "other", "view"), gap_edges_ms=())
    value = msgspec.json.encode({"user_id": "u", "timestamp": START_MS})
    prediction = msgspec.json.decode(
        play_all([value], engine).predictions[0].value, type=Prediction
    )
    assert (prediction.cart, prediction.purchase, prediction.next_event_ms) == (None, None, None)
    prediction = msgspec.json.decode(
        play_all([value], tiny_engine_with()).predictions[0].value, type=Prediction
    )
    assert prediction.cart is not None
    assert prediction.purchase is not None


# --- the fallback


def cycle(count: int, prefix: str, first: int = 0) -> list[bytes | None]:
    """One user goes round and round through three items."""
    return [
        msgspec.json.encode(
            {
                "user_id": "u",
                "timestamp": START_MS + (first + n) * 1000,
                "item_id": f"{prefix}{n % 3}",
            }
        )
        for n in range(count)
    ]


def test_where_most_items_are_unknown_transitions_answer(tiny_engine_with: Make) -> None:
    out = play_all(cycle(60, "x"), tiny_engine_with())
    predictions = [msgspec.json.decode(r.value, type=Prediction) for r in out.predictions]
    assert [p.fallback for p in predictions[:31]] == [None] * 31  # too few items to judge by
    assert {p.fallback for p in predictions[31:]} == {"out_of_vocabulary"}
    assert out.fallbacks == 29
    for n, prediction in enumerate(predictions[31:], 31):
        assert [item.item_id for item in prediction.items][:1] == [f"x{(n + 1) % 3}"]
        assert prediction.anomaly.state == "uncalibrated"
        assert prediction.anomaly.p_value is None


def test_transitions_are_learned_of_unknown_items_only(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with()
    for prefix, expected in (("i", set()), ("x", {b"t"})):
        changelog = played(cycle(40, prefix), [], engine)[1]
        assert {key[:1] for key in changelog} - {b"u", b"p", b"c"} == expected


def test_the_model_answers_again_once_most_items_are_known(tiny_engine_with: Make) -> None:
    values = cycle(40, "x") + cycle(40, "i", 40)
    out = play_all(values, tiny_engine_with())
    predictions = [msgspec.json.decode(r.value, type=Prediction) for r in out.predictions]
    assert predictions[78].fallback == "out_of_vocabulary"
    assert predictions[79].fallback is None


def test_a_partition_says_once_that_its_items_are_unknown(tiny_engine_with: Make) -> None:
    engine, values = tiny_engine_with(), cycle(90, "x")
    store, said = PartitionStore(0, engine, CONFIG), list[str]()
    log: list[tuple[bytes, bytes | None]] = []
    for start in range(0, 90, 10):
        batch = event_batch(values[start : start + 10], start)
        said += play(batch, store, {engine.version: engine}, Route(engine.version)).notices
        log += store.take_changes()
        store = PartitionStore(0, engine, CONFIG)
        store.restore(log)
        store.recovered()
    assert said == ["out_of_vocabulary"]


# --- dead letters


@st.composite
def refused(draw: st.DrawFn) -> EventBatch:
    big = st.integers(MAX_REJECTED_BYTES - 2, MAX_REJECTED_BYTES + 2)
    value = draw(st.none() | st.binary(max_size=50) | big.map(lambda n: b"\xff" * n))
    header = st.tuples(
        st.text(max_size=200), st.none() | st.binary(max_size=20) | st.just(b"h" * 5000)
    )
    return EventBatch(
        topic=TOPIC,
        partition=3,
        offsets=[draw(st.integers(0, 1 << 60))],
        timestamps_ms=[draw(st.integers(-1, 1 << 43))],
        keys=[draw(st.none() | st.binary(max_size=30) | st.just(b"k" * 9000))],
        values=[value],
        headers=[draw(st.lists(header, max_size=40))],
        next_offset=1 << 61,
    )


@RELAXED
@given(batch=refused())
def test_a_dead_letter_holds_the_record_or_its_beginning_and_its_hash(batch: EventBatch) -> None:
    record = rejected_record(batch, 0, Rejected("syntax", "detail"))
    encoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record))
    key, value, headers = batch.keys[0], batch.values[0], batch.headers[0]
    assert record.value == (None if value is None else value[:65_536])
    assert record.value_size == len(value or b"")
    assert record.value_blake2b == blake2b(value or b"", digest_size=16).hexdigest()
    assert value is None or b64decode(encoded["value"]) == value[:65_536]
    assert record.key == (None if key is None else key[:1024])
    assert record.key_size == len(key or b"")
    kept = [(name[:128], (content or b"")[:1024]) for name, content in headers[:32]]
    assert [(header.name, header.value) for header in record.headers] == kept
    assert (record.topic, record.partition) == (TOPIC, 3)
    assert (record.offset, record.timestamp_ms) == (batch.offsets[0], batch.timestamps_ms[0])
    assert len(msgspec.json.encode(record)) < 250_000  # far below what Kafka takes


@RELAXED
@given(values=STREAMS)
def test_what_is_refused_comes_back_byte_for_byte(
    values: list[bytes | None], tiny_engine_with: Make
) -> None:
    outputs, _, _ = played(values, [], tiny_engine_with())
    for key, value in outputs["rejected"]:
        letter = msgspec.json.decode(value, type=RejectedRecord)
        assert letter.value == values[letter.offset]
        assert (letter.key, key) == (None, None)
