"""Any output, of any batching, under any orders, comes again from changelog and input."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from aiokafka import ConsumerRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.batch import Record, Route
from stream_app.core.events import Anomaly, Prediction, Source, Verdict
from stream_app.core.partition_record import ROUTE_FIELDS, PartitionRecord
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from stream_app.history import Row
from stream_app.published import Published, decode_output, is_along
from stream_app.question import Batches, Question, cause_of, recomputed, rewind_to
from stream_app.rebuild import (
    Player,
    RebuildError,
    check_count,
    event_batch,
    outputs_of,
    restored,
)
from stream_app.replay import InputRecord
from tests.core.streams import CONFIG, TOPIC, flows
from tests.core.test_swap import by_version, engines_of

Make = Callable[..., OnnxEngine]
BATCH_MS = 20_000  # between two micro-batches: longer than outputs of one may be apart


class Life(NamedTuple):
    """What a partition left in its topics."""

    inputs: list[InputRecord]
    changelog: list[Row]
    outputs: list[tuple[int, str, Record]]  # with the time of their publication
    routes: Callable[[PartitionRecord], Route]


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[bytes | None], list[int], list[tuple[int, int, int]]]:
    """A stream, the sizes of its batches, and what is in force behind each: orders, level, model.
    Models come and go as promotions and rollbacks do, a few times."""
    values = draw(flows(max_size=60))
    sizes = draw(st.lists(st.integers(0, 9), min_size=1, max_size=40))
    orders = sorted(draw(st.lists(st.integers(0, 4), min_size=40, max_size=40)))
    levels = draw(st.lists(st.integers(0, 3), min_size=40, max_size=40))
    models = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 8)), max_size=5))
    live = [model for model, batches in models for _ in range(batches)]
    return values, sizes, list(zip(orders, levels, [*live, *[0] * 40][:40], strict=True))


def lived(engines: Sequence[OnnxEngine], plan: tuple[Any, ...]) -> Life:
    """Play a plan as a worker does. Order n blocks item n and erases user n - 1."""
    values, sizes, behind = plan
    inputs = [InputRecord(0, at, -1, None, value) for at, value in enumerate(values)]
    store = PartitionStore(0, engines[0], CONFIG)

    def routes(record: PartitionRecord) -> Route:
        orders = range(record.as_of)
        blocked = frozenset(f"i{n}" for n in orders)
        erasures = tuple((n, store.pseudonym(f"u{n}")) for n in orders)
        kept = {name: getattr(record, name) for name in ROUTE_FIELDS}
        return Route(blocked=blocked, erasures=erasures, **kept)

    life, at, number = Life(inputs, [], [], routes), 0, 0
    while at < len(inputs) or number < len(sizes):
        size = sizes[number] if number < len(sizes) else 9
        records = inputs[at : at + size]
        at += len(records)
        as_of, degraded, model = behind[min(number, 39)]
        following = Route(engines[model].version, as_of=as_of, degraded=degraded)
        batch = event_batch(TOPIC, 0, records, at)
        route = routes(store.record)
        out = play(batch, store, by_version(engines), route, next_route=following)
        now_ms, number = number * BATCH_MS, number + 1
        life.outputs.extend((now_ms, role, record) for role, record in outputs_of(out))
        for key, value in store.take_changes():
            life.changelog.append(Row(len(life.changelog), now_ms, key, value))
    return life


def question_of(life: Life, chosen: int) -> Question:
    """The question for an output, as its topic would answer it."""
    at_ms, role, record = life.outputs[chosen]
    found = published(at_ms, role, record)
    along = [
        published(ms, other_role, other)
        for ms, other_role, other in life.outputs
        if ms == at_ms
        and other_role != "rejected"
        and is_along(found.output, decode_output(other_role, other.value))
    ]
    return Question(found.source, found, along)


def published(at_ms: int, role: str, record: Record) -> Published:
    held = ConsumerRecord(role, 0, 0, at_ms, 0, record.key, record.value, None, -1, -1, ())
    return Published(role, held, decode_output(role, record.value))


def batches_of(life: Life, past: Any) -> Batches:
    at = 0 if past.before is None else past.before.record.next_offset
    batches: Batches = []
    for commit in past.after:
        end = commit.record.next_offset
        batches.append((commit, life.inputs[at:end]))
        at = end
    return batches


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(plan=plans(), data=st.data())
def test_any_output_comes_again_to_the_byte(
    plan: tuple[Any, ...], data: st.DataObject, tiny_engine_with: Make
) -> None:
    engines = engines_of(tiny_engine_with)
    life = lived(engines, plan)
    asked = [at for at, (_, role, _) in enumerate(life.outputs) if role != "rejected"]
    if not asked:
        return
    question = question_of(life, data.draw(st.sampled_from(asked)))
    rewind = rewind_to(question)
    rewind.add(life.changelog)
    past = rewind.past()
    store = restored(past, 0, by_version(engines)[past.first_model], CONFIG)
    assert question.found is not None
    user = bytes.fromhex(question.found.output.user)
    player = Player(TOPIC, store, by_version(engines), life.routes, user)
    cause = cause_of(player, question, batches_of(life, past))
    assert cause is not None
    values: dict[str, list[bytes]] = {}
    for output in question.along:
        values.setdefault(output.role, []).append(output.record.value or b"")
    assert recomputed(question, cause) == values


def test_a_correction_has_no_part_in_the_alert_of_its_event() -> None:
    source = Source(TOPIC, 0, 7)
    alert = Anomaly(
        "a1", "00", "surprise", "open", "e7", source, 0, 0, 1, 9.0, 0.001, 500, 0.01, "m-1", []
    )
    verdict = Verdict("anomalous", 9.0, 0.001)
    said = Prediction("e7", "00", source, 0, 0, "m-1", "live", 0, [], {}, None, None, None, verdict)
    corrected = msgspec.structs.replace(said, revision=1)
    assert is_along(said, alert)
    assert is_along(alert, said)
    assert not is_along(corrected, alert)
    assert not is_along(said, corrected)


def test_another_number_of_records_is_refused() -> None:
    def record(**outcomes: int) -> PartitionRecord:
        return PartitionRecord(model="m", fingerprint=b"", actions=(), outcomes=outcomes)

    one = InputRecord(0, 0, -1, None, b"")
    check_count([one], None, record(predicted=1))
    check_count([one], record(predicted=4, rejected=1), record(predicted=4, rejected=2))
    with pytest.raises(RebuildError, match=r"took 2 records .* holds 1 of them"):
        check_count([one], None, record(predicted=2))
