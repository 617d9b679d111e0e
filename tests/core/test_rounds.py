"""Pass 2 equals a user's events fed to the engine one after the other; late ones: test_refold."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from model.spec import Advance, Floats, Ints, Memory, Tokens
from stream_app.core import features
from stream_app.core.admit import Admission
from stream_app.core.config import CoreConfig
from stream_app.core.entries import Steps
from stream_app.core.memory import likeliest_actions
from stream_app.core.results import Results
from stream_app.core.rounds import advance
from stream_app.core.state import ACTION_CODE, EXPECTED, NO_ACTION
from stream_app.core.store import PartitionStore
from tests.core.streams import KEY, START_MS, clicks, event_batch, flows, in_time
from tests.tiny_model import ACTIONS

Make = Callable[..., OnnxEngine]
FEATURES = features.names(ACTIONS)
CONFIG = CoreConfig(pseudonym_key=KEY, allowed_lateness_ms=86_400_000, user_ttl_ms=1 << 38)
RELAXED = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Pass 2 may write these fields of a row and no other.
MINE = {"used", "next", "ring_base_ms", "ring", "hidden", "log_z", "close_surprise", "anchor"}
MINE |= {"anchor_log_z", "anchor_age", "expected_item", "expected_item_logp", "expected_action"}
MINE |= {"expected_action_logp"}


class Played(NamedTuple):
    steps: Steps
    results: Results
    store: PartitionStore


def passes(values: list[bytes | None], cuts: list[int], engine: OnnxEngine) -> list[Played]:
    store = PartitionStore(0, engine, CONFIG)
    found = []
    for start, end in pairwise([0, *sorted(cuts), len(values)]):
        batch = event_batch(values[start:end], start)
        cleaned = [store.read(None, value, -1) for value in batch.values]
        admission = Admission(batch, cleaned, store, engine)
        assert admission.run(0) == len(cleaned)  # nobody is old enough to leave
        before = store.rows.copy()
        found.append(Played(admission.steps, advance(admission.steps, store, engine), store))
        for name in before.dtype.names or ():
            changed = store.rows[name].tobytes() != before[name].tobytes()
            assert not changed or name in MINE, name
    return found


class Person:
    """Memory and window of one user, kept as plain lists."""

    def __init__(self, engine: OnnxEngine) -> None:
        self.engine, self.memory = engine, engine.initial(1)
        self.window: list[tuple[int, float]] = []
        self.last: Advance | None = None

    def step(self, tokens: Tokens, at_ms: int, starts: bool) -> tuple[Advance, float]:
        spec = self.engine.spec
        if starts and spec.reset_at_session:
            self.memory, self.last = self.engine.initial(1), None
        made = self.engine.advance(tokens, self.memory)
        self.memory = Memory(
            made.memory.hidden.astype(spec.memory_dtype), made.memory.log_z.astype(np.float32)
        )
        surprise = float(np.float16(made.item_surprise[0] + made.action_surprise[0]))
        inside = [
            s
            for at, s in self.window[1 - spec.ring_length :]
            if at_ms - spec.window_ms < at <= at_ms
        ]
        self.window.append((at_ms, surprise))
        return made, max([*inside, surprise])


def codes(value: int) -> Ints:
    return np.array([value], np.int32)


@RELAXED
@given(
    values=flows(),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    reset=st.booleans(),
)
def test_rounds_are_one_event_after_the_other(
    values: list[bytes | None], cuts: list[int], reset: bool, tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with(
        features=FEATURES, ring_length=5, reset_at_session=reset, window_ms=3_600_000
    )
    people, values = dict[bytes, Person](), in_time(values)
    for steps, results, _ in passes(values, [cut for cut in cuts if cut < len(values)], engine):
        gaps = features.gap_codes(steps.columns["gap_ms"], engine.spec)
        for k in range(len(steps)):
            one = steps[k]
            person = people.setdefault(one.pseudonym, Person(engine))
            tokens = Tokens(
                codes(one.item),
                codes(one.mark & ACTION_CODE),
                gaps[k : k + 1],
                results.dense[k, None],
            )
            starts = one.starts
            expected = None if starts and reset else person.last
            made, score = person.step(tokens, one.at_ms, starts)
            assert_same(made, results, k)
            assert results.score[k] == score
            assert_expected(expected, results, k)
            person.last = made
    assert_rows(people, passes(values, [], engine)[-1].store)


def assert_same(made: Advance, results: Results, k: int) -> None:
    for name in ("item_surprise", "action_surprise", "top_items", "top_logp", "action_logp"):
        np.testing.assert_array_equal(getattr(results, name)[k], getattr(made, name)[0], name)
    for name in ("cart", "purchase", "gap_logp"):
        np.testing.assert_array_equal(getattr(results, name)[k], getattr(made, name)[0], name)
    assert results.close_surprise[k] == -made.action_logp[0, 0]


def assert_expected(last: Advance | None, results: Results, k: int) -> None:
    """Alternatives are what the memory that priced the event held likeliest."""
    if last is None:
        assert results.expected_item[k].tolist() == [-1] * EXPECTED
        assert results.expected_action[k].tolist() == [NO_ACTION] * EXPECTED
        return
    actions = np.argsort(-last.action_logp[0], kind="stable")[:EXPECTED]
    assert results.expected_item[k].tolist() == last.top_items[0, :EXPECTED].tolist()
    assert results.expected_action[k].tolist() == actions.tolist()
    halves = last.top_logp[0, :EXPECTED].astype(np.float16)
    assert results.expected_item_logp[k].tolist() == halves.tolist()
    halves = last.action_logp[0, actions].astype(np.float16)
    assert results.expected_action_logp[k].tolist() == halves.tolist()


def assert_rows(people: dict[bytes, Person], store: PartitionStore) -> None:
    """What the store keeps of every user is what the user's own memory is."""
    assert people.keys() == {*store.slots}
    for pseudonym, person in people.items():
        row = store.rows[store.slots[pseudonym]]
        assert row["hidden"].tobytes() == person.memory.hidden[0].tobytes()
        assert row["log_z"] == person.memory.log_z[0]
        held = sorted(row["ring"]["surprise"][: int(row["used"])].tolist())
        assert held == sorted(s for _, s in person.window[-store.spec.ring_length :])


def test_a_late_event_is_judged_in_the_window_that_ends_with_it(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with(features=FEATURES, window_ms=3_600_000)
    kinds = [("view", 0), ("view", 2 * 3_600_000), ("cart", 1)]
    values: list[bytes | None] = [
        msgspec.json.encode({"user_id": "u", "timestamp": START_MS + ms, "event_type": kind})
        for kind, ms in kinds
    ]
    ((_, results, _),) = passes(values, [], engine)
    own = np.float16(results.item_surprise[2] + results.action_surprise[2])
    assert results.score[2] == max(results.score[0], own)
    after = results.left_by(2)
    again = np.float16(results.item_surprise[after] + results.action_surprise[after])
    assert results.score[after] == again  # two hours later nothing else is in the window
    dense = dict(zip(FEATURES, results.dense[2].tolist(), strict=True))
    assert (dense["share_cart"], dense["share_view"]) == (0.5, 0.5)


@RELAXED
@given(values=st.lists(clicks(users=2), min_size=1, max_size=50))
def test_the_anchor_is_the_memory_of_half_a_ring_ago_at_most(
    values: list[bytes], tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with(ring_length=6)
    store = PartitionStore(0, engine, CONFIG)
    half, memories = 3, dict[tuple[bytes, int], bytes]()
    for offset, value in enumerate(in_time(values)):
        batch = event_batch([value], offset)
        cleaned = [store.read(None, value, -1)]
        admission = Admission(batch, cleaned, store, engine)
        admission.run(0)
        advance(admission.steps, store, engine)
        for pseudonym, row in zip(store.slots, store.occupied().tolist(), strict=True):
            held = store.rows[row]
            total = int(held["events_total"])
            at = total - int(held["anchor_age"])
            memories[pseudonym, total] = held["hidden"].tobytes()
            assert at == total // half * half
            fresh = engine.initial(1).hidden[0].tobytes()
            assert held["anchor"].tobytes() == memories.get((pseudonym, at), fresh)


@RELAXED
@given(logp=st.lists(st.integers(-4, 0), min_size=2, max_size=8))
def test_the_likeliest_actions_come_best_first_ties_to_the_lower_code(logp: list[int]) -> None:
    scores: Floats = np.array([logp], np.float32)
    ranked = sorted(range(len(logp)), key=lambda code: (-logp[code], code))
    assert likeliest_actions(scores)[0].tolist() == ranked[:EXPECTED]


def test_nothing_to_play_plays_nothing(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with(features=FEATURES)
    results = advance(Steps(), PartitionStore(0, engine, CONFIG), engine)
    assert results.dense.shape == (0, len(FEATURES))
    assert results.top_items.shape == (0, engine.spec.top_k)
    assert results.gap_logp.shape == (0, engine.spec.gap_count - 1)
