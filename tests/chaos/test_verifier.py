"""The verifier is worth what it catches: each damage that a run may do is done on purpose."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.batch import Route
from stream_app.core.config import CoreConfig
from stream_app.core.privacy import pseudonymiser
from stream_app.kafka.dump import DumpRecord
from stream_app.orders import Ledger
from stream_app.replay import from_files
from stream_app.schedule import Leg
from tests.chaos.schedule import plan
from tests.chaos.traffic import traffic
from tests.chaos.verifier import (
    KeyValue,
    Orders,
    Topics,
    Verdict,
    balance,
    compare,
    compare_records,
    expected,
)

CONFIG = CoreConfig(pseudonym_key=b"0123456789abcdef", alert_rate=0.3, reservoir_size=256)
DELIVERIES = ("exactly_once", "at_least_once")
MADE = st.lists(st.integers(0, 60), min_size=3, max_size=40, unique=True)


def numbered(numbers: list[int]) -> list[KeyValue]:
    return [(b"k", b"%d" % number) for number in numbers]


@pytest.fixture(scope="module")
def inputs() -> dict[int, list[DumpRecord]]:
    """A second of traffic."""
    events = traffic(plan(2, 1.5, 1), 1_000)
    found: dict[int, list[DumpRecord]] = {}
    for r in from_files(iter(events), 2):
        record = DumpRecord(r.partition, r.offset, -1, "create", r.key, r.value, ())
        found.setdefault(r.partition, []).append(record)
    return found


@pytest.fixture(scope="module")
def whole(inputs: dict[int, list[DumpRecord]], tiny_engine: OnnxEngine) -> Topics:
    """What an undisturbed run makes of it."""
    return expected(inputs, "events", tiny_engine, CONFIG)


def damaged(whole: Topics, role: str, records: list[KeyValue]) -> Topics:
    return replace(whole, outputs={**whole.outputs, (role, 1): records})


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_an_undisturbed_run_passes(whole: Topics, delivery: str) -> None:
    assert compare(whole, whole, delivery) == Verdict()
    assert compare(whole, whole, delivery).passes(delivery)


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("role", ["predictions", "anomalies", "rejected"])
def test_one_record_dropped_doubled_or_altered_is_caught(
    whole: Topics, role: str, delivery: str
) -> None:
    records = whole.outputs[role, 1]
    assert len(records) > 3
    middle = len(records) // 2
    key, value = records[middle]
    assert value is not None

    without = [*records[:middle], *records[middle + 1 :]]
    verdict = compare(damaged(whole, role, without), whole, delivery)
    assert verdict[:3] == (1, 0, 0)
    assert not verdict.passes(delivery)

    twice = [*records[: middle + 1], *records[middle:]]
    verdict = compare(damaged(whole, role, twice), whole, delivery)
    assert verdict[:3] == (0, 1, 0)
    assert verdict.passes(delivery) == (delivery == "at_least_once")

    changed: KeyValue = (key, value[:-2] + bytes([value[-2] ^ 1]) + value[-1:])
    altered = [*records[:middle], changed, *records[middle + 1 :]]
    verdict = compare(damaged(whole, role, altered), whole, delivery)
    assert verdict[:3] == (0, 0, 1)
    assert not verdict.passes(delivery)

    other_key: KeyValue = (b"somebody else", value)
    moved = [*records[:middle], other_key, *records[middle + 1 :]]
    assert compare(damaged(whole, role, moved), whole, delivery).mismatched == 1


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_duplicate_that_is_not_the_same_byte_for_byte_is_caught(
    whole: Topics, delivery: str
) -> None:
    records = whole.outputs["predictions", 1]
    key, value = records[0]
    again: KeyValue = (key, (value or b"").replace(b"{", b"{ ", 1))
    verdict = compare(damaged(whole, "predictions", [*records, again]), whole, delivery)
    assert verdict[:3] == (0, 0, 1)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_two_records_in_each_others_place_are_caught(whole: Topics, delivery: str) -> None:
    records = list(whole.outputs["predictions", 1])
    records[3], records[9] = records[9], records[3]
    verdict = compare(damaged(whole, "predictions", records), whole, delivery)
    assert verdict[:3] == (0, 0, 2)


def test_another_state_is_caught(whole: Topics) -> None:
    rows = whole.state[1]
    user = next(key for key in rows if key.startswith(b"u"))
    for state in (
        {key: value for key, value in rows.items() if key != user},
        {**rows, user: rows[user][:-1] + b"\x01\x02"},
        {**rows, b"u" + bytes(16): rows[user]},
    ):
        found = replace(whole, state={**whole.state, 1: state})
        assert compare(found, whole, "exactly_once")[:3] == (0, 0, 1)
    lacking = replace(whole, state={0: whole.state[0]})
    assert compare(lacking, whole, "exactly_once").mismatched == len(rows)


def test_a_topic_or_partition_that_nobody_wrote_is_caught(whole: Topics) -> None:
    outputs = {place: rows for place, rows in whole.outputs.items() if place != ("predictions", 1)}
    verdict = compare(replace(whole, outputs=outputs), whole, "exactly_once")
    assert verdict.lost == len(whole.outputs["predictions", 1])


def test_a_model_that_answered_from_another_offset_on_is_caught(
    inputs: dict[int, list[DumpRecord]],
    whole: Topics,
    tiny_engine: OnnxEngine,
    tiny_engine_with: Callable[..., OnnxEngine],
) -> None:
    other = tiny_engine_with(hidden_width=12, seed=1)
    engines = {engine.version: engine for engine in (tiny_engine, other)}

    def swapped(offset: int) -> Topics:
        legs = [Leg(0, Route(tiny_engine.version)), Leg(offset, Route(other.version))]
        ledger = Ledger(pseudonymiser(CONFIG.pseudonym_key))
        orders = Orders({0: legs, 1: legs}, ledger, engines)
        return expected(inputs, "events", tiny_engine, CONFIG, orders)

    assert compare(swapped(200), swapped(200), "at_least_once") == Verdict()
    verdict = compare(swapped(210), swapped(200), "at_least_once")
    assert verdict.mismatched > 0
    assert not verdict.passes("at_least_once")
    assert compare(swapped(200), whole, "exactly_once").mismatched > 500


def test_the_books_see_an_input_without_an_outcome_and_one_with_two(
    whole: Topics, inputs: dict[int, list[DumpRecord]]
) -> None:
    assert balance(inputs, whole).is_whole
    records = whole.outputs["predictions", 1]
    lacking = balance(inputs, damaged(whole, "predictions", records[1:]))
    assert (len(lacking.lost), len(lacking.doubled)) == (1, 0)
    twice = balance(inputs, damaged(whole, "predictions", [*records, records[0]]))
    assert (len(twice.lost), len(twice.doubled)) == (0, 1)
    strange = {partition: rows[1:] for partition, rows in inputs.items()}
    assert balance(strange, whole).strangers


@given(MADE, st.data())
def test_going_back_and_repeating_is_what_at_least_once_means(
    numbers: list[int], data: st.DataObject
) -> None:
    """A worker that died repeats from the last committed place, in order: duplicates, no more."""
    seen: list[int] = []
    done = 0
    for end in sorted(data.draw(st.lists(st.integers(0, len(numbers)), max_size=4))):
        seen += numbers[done:end]
        done = data.draw(st.integers(0, end))
    seen += numbers[done:]
    verdict = compare_records("p", numbered(seen), numbered(numbers), "at_least_once")
    assert verdict[:3] == (0, len(seen) - len(numbers), 0)


@given(MADE, st.lists(st.integers(0, 60), max_size=40))
def test_nothing_but_the_same_records_in_the_same_order_is_exactly_once(
    numbers: list[int], seen: list[int]
) -> None:
    verdict = compare_records("p", numbered(seen), numbered(numbers), "exactly_once")
    assert verdict.passes("exactly_once") == (seen == numbers)
