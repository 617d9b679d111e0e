"""What training reads is what the worker's core saw, token for token."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from model.log import EventLog
from model.spec import RESERVED_ACTIONS, Advance, Memory, Rounds, Tokens
from stream_app.core import features
from stream_app.core.batch import Route
from stream_app.core.config import CoreConfig
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from stream_app.files import FileEvent
from stream_app.profile import LogProfile, profile
from stream_app.sequences import (
    BATCH_EVENTS,
    LogError,
    ShapeConfig,
    batches,
    build_log,
    cleaned,
    shape,
)
from tests.core.streams import KEY, START_MS, clicks, decoded, event_batch, flows, in_time
from tests.tiny_model import ACTIONS

Make = Callable[..., OnnxEngine]
DAY_MS = 86_400_000
RELAXED = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# A log is read with a day's lateness, whatever the worker allows.
LOG_CONFIG = CoreConfig(pseudonym_key=KEY, allowed_lateness_ms=600_000)
WORKER_CONFIG = CoreConfig(pseudonym_key=KEY, allowed_lateness_ms=DAY_MS)
Token = tuple[int, int, int, list[float]]


class Recording:
    """A real engine that notes the tokens it is given."""

    def __init__(self, engine: OnnxEngine) -> None:
        self.spec, self.version, self.fingerprint = engine.spec, engine.version, engine.fingerprint
        self.vocabulary, self.calibration = engine.vocabulary, engine.calibration
        self._engine, self.tokens = engine, list[Token]()

    def initial(self, rows: int) -> Memory:
        return self._engine.initial(rows)

    def advance(self, tokens: Tokens, memory: Memory, rounds: Rounds = ()) -> Advance:
        for row in range(len(tokens.item)):
            self.tokens.append(
                (
                    int(tokens.item[row]),
                    int(tokens.action[row]),
                    int(tokens.gap[row]),
                    tokens.dense[row].tolist(),
                )
            )
        return self._engine.advance(tokens, memory, rounds)


def tokens_of(log: EventLog) -> list[Token]:
    columns = (log.item.tolist(), log.action.tolist(), log.gap.tolist(), log.dense.tolist())
    return [*zip(*columns, strict=True)]


def file_events(values: list[bytes | None]) -> list[FileEvent]:
    return [FileEvent(None, value or b"") for value in values]


@RELAXED
@given(values=flows(), reset=st.booleans())
def test_a_log_holds_the_tokens_that_an_engine_is_given(
    values: list[bytes | None], reset: bool, tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with(
        features=features.names(ACTIONS), reset_at_session=reset, ring_length=6
    )
    values = in_time(values)  # as a file's events are
    recording = Recording(engine)
    store, route = PartitionStore(0, recording, WORKER_CONFIG), Route(engine.version)
    by_user: dict[str, list[tuple[Token, int]]] = {}
    for offset, value in enumerate(values):
        out = play(event_batch([value], offset), store, {engine.version: recording}, route)
        for prediction in decoded([(record.key, record.value) for record in out.predictions]):
            played = (recording.tokens.pop(), prediction["at_ms"])
            by_user.setdefault(prediction["user"], []).append(played)
    assert recording.tokens == []
    log = build_log(file_events(values), engine.spec, engine.vocabulary.items, LOG_CONFIG)
    expected = [event for events in by_user.values() for event in events]
    assert tokens_of(log) == [token for token, _ in expected]
    assert log.at_ms.tolist() == [at_ms for _, at_ms in expected]
    lengths = np.diff(log.session_start[log.user_start])
    assert lengths.tolist() == [len(events) for events in by_user.values()]


@RELAXED
@given(values=flows(), ends=st.booleans(), room=st.sampled_from([2, 100]))
def test_sessions_and_users_cut_a_log_without_gaps(
    values: list[bytes | None], ends: bool, room: int, tiny_engine_with: Make
) -> None:
    values = in_time(values)
    engine = tiny_engine_with()
    config = msgspec.structs.replace(LOG_CONFIG, max_users_per_partition=room)
    beat = msgspec.json.encode({"event_type": "_heartbeat", "timestamp": START_MS + 200 * DAY_MS})
    if ends:
        values = [*values, beat]
    log = build_log(file_events(values), engine.spec, engine.vocabulary.items, config)
    for starts, end in ((log.session_start, log.events), (log.user_start, log.sessions)):
        assert starts[-1] == end
        assert (starts[0] if len(starts) > 1 else 0) == 0
        assert (np.diff(starts) > 0).all()
    assert len(log.closed) == log.sessions
    last = log.user_start[1:] - 1
    is_last = np.isin(np.arange(log.sessions), last)
    assert log.closed[~is_last].all()  # another session of the user began
    if ends:
        assert log.closed.all()


@RELAXED
@given(values=st.lists(clicks(), max_size=60))
def test_known_items_have_their_code_and_others_a_cold_one(
    values: list[bytes], tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with()
    spec, items = engine.spec, engine.vocabulary.items
    log = build_log(file_events([*values]), spec, items, LOG_CONFIG)
    found = Counter(items[code] for code in log.item.tolist() if code < spec.item_count)
    kept = [msgspec.json.decode(value) for value in values]
    expected = Counter(event["item_id"] for event in kept if event.get("item_id") in items)
    assert found <= expected  # duplicates and late events are not in the log
    assert log.item.max(initial=0) < spec.input_count


def test_a_log_longer_than_a_batch_is_one_log(tiny_engine_with: Make) -> None:
    engine, count = tiny_engine_with(), BATCH_EVENTS + 500
    values = [
        msgspec.json.encode(
            {"user_id": n % 7, "timestamp": START_MS + n * 1000, "item_id": f"i{n % 30}"}
        )
        for n in range(count)
    ]
    done: list[int] = []
    log = build_log(
        file_events([*values]), engine.spec, engine.vocabulary.items, LOG_CONFIG, done.append
    )
    assert log.events == sum(done) == count
    assert log.sessions == len(log.user_start) - 1 == 7  # nobody pauses for half an hour
    for user in range(7):
        start, end = log.session_start[user], log.session_start[user + 1]
        numbers = [n for n in range(count) if n % 7 == user]
        assert log.at_ms[start:end].tolist() == [START_MS + n * 1000 for n in numbers]
        assert log.item[start:end].tolist() == [n % 30 for n in numbers]


def test_an_empty_log_is_a_log_of_nothing(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with(features=("dwell",))
    log = build_log([], engine.spec, engine.vocabulary.items, LOG_CONFIG)
    assert (log.events, log.sessions) == (0, 0)
    assert log.dense.shape == (0, 1)
    assert log.user_start.tolist() == log.session_start.tolist() == [0]


@RELAXED
@given(count=st.sampled_from([0, 1, BATCH_EVENTS - 1, BATCH_EVENTS, 2 * BATCH_EVENTS + 1]))
def test_batches_follow_each_other(count: int) -> None:
    source = cleaned(file_events([b"x"] * count), LOG_CONFIG)
    offset = 0
    for batch, part in batches(source):
        assert [*batch.offsets] == [*range(offset, offset + len(part))]
        assert 0 < len(part) <= BATCH_EVENTS
        offset = batch.next_offset
    assert offset == count


# --- the spec that a log asks for


def profile_of(
    items: dict[str, int] | None = None, actions: tuple[str, ...] = ("view", "cart"), **found: Any
) -> LogProfile:
    counted = Counter(items if items is not None else {"b": 5, "a": 5, "c": 9, "d": 1})
    clicks_ = sum(counted.values())
    known: dict[str, Any] = {"users": 3, "clicks": clicks_, "first_ms": 0, "last_ms": 10**9}
    seen = Counter(dict.fromkeys(actions, 1))
    return LogProfile(items=counted, actions=seen, **(known | found))


@RELAXED
@given(
    items=st.dictionaries(st.text(max_size=3), st.integers(1, 6), max_size=12),
    least=st.integers(1, 4),
    most=st.integers(1, 12),
)
def test_the_vocabulary_is_the_commonest_items(
    items: dict[str, int], least: int, most: int
) -> None:
    config = ShapeConfig(min_item_count=least, max_items=most)
    ranked = sorted((-n, item) for item, n in items.items() if n >= least)
    expected = tuple(item for _, item in ranked)[:most]
    if len(expected) < 2:
        with pytest.raises(LogError, match="needs at least 2 items"):
            shape(profile_of(items), config)
        return
    spec, found = shape(profile_of(items), config)
    assert found == expected
    assert spec.item_count == len(expected)
    assert spec.top_k == min(20, len(expected))


def test_the_spec_has_only_what_the_log_can_teach() -> None:
    spec, _ = shape(profile_of(with_dwell=1), ShapeConfig())
    assert spec.actions == (*RESERVED_ACTIONS, "cart", "view")
    assert spec.features == features.names(spec.actions)
    assert spec.gap_edges_ms == features.GAP_EDGES_MS
    spec, _ = shape(profile_of(actions=("view",)), ShapeConfig())
    assert "dwell" not in spec.features
    assert not [name for name in spec.features if name.startswith("share_")]
    untimed = profile_of(last_ms=19 * 1000)  # a click a second: the file told no times
    spec, _ = shape(untimed, ShapeConfig())
    assert (spec.features, spec.gap_edges_ms) == ((), ())
    spec, _ = shape(profile_of(), ShapeConfig(features="none"))
    assert spec.features == ()
    assert spec.gap_edges_ms == features.GAP_EDGES_MS


def test_one_session_per_user_resets_memory_unless_told_otherwise() -> None:
    sessions: dict[str, Any] = {"with_session_id": 20, "sessions_are_users": True}
    assert shape(profile_of(**sessions), ShapeConfig())[0].reset_at_session
    assert not shape(profile_of(), ShapeConfig())[0].reset_at_session
    assert not shape(profile_of(**sessions), ShapeConfig(reset_at_session=False))[
        0
    ].reset_at_session


def test_a_log_of_a_file_gives_a_spec_and_a_log() -> None:
    values = [
        msgspec.json.encode(
            {"user_id": n % 3, "timestamp": START_MS + n * n * 1000, "item_id": f"i{n % 4}"}
        )
        for n in range(40)
    ]
    events = file_events([*values])
    spec, items = shape(profile(cleaned(events, LOG_CONFIG)), ShapeConfig(hidden_width=4))
    assert items == ("i0", "i1", "i2", "i3")
    log = build_log(events, spec, items, LOG_CONFIG)
    assert log.events == 40
    assert log.dense.shape == (40, len(spec.features))


def test_ids_that_became_floats_are_refused_with_what_to_do() -> None:
    floats = LogProfile(items=Counter({"4.0": 3, "17.0": 1}), actions=Counter({"view": 4}))
    with pytest.raises(LogError, match=r"all 2 item ids are fractional numbers, such as '4\.0'"):
        shape(floats, ShapeConfig())
    mixed = LogProfile(items=Counter({"4.0": 3, "v1": 1}), actions=Counter({"view": 4}))
    assert shape(mixed, ShapeConfig())[1] == ("4.0", "v1")
