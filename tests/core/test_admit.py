"""Pass 1 equals a slow and plain reading of the rules, record by record."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from model.spec import ModelSpec, Vocabulary, item_hash
from stream_app.core.admit import (
    EXPIRY_BUCKET_MS,
    Admission,
)
from stream_app.core.clean import Cleaned, Click, Heartbeat, Rejected
from stream_app.core.config import CoreConfig
from stream_app.core.entries import Entry, Eviction, Refusal, SessionEnd, StepAt
from stream_app.core.partition_record import VOCABULARY_HORIZON, VOCABULARY_MIN_EVENTS
from stream_app.core.rounds import advance
from stream_app.core.state import ACTION_CODE
from stream_app.core.store import PartitionStore
from tests.core.streams import KEY, START_MS, event_batch, flows, records

Make = Callable[..., OnnxEngine]
RELAXED = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Step(NamedTuple):
    """One accepted click, as pass 1 hands it on."""

    batch_row: int
    user: bytes
    at_ms: int
    gap_ms: int
    dwell_ms: int
    position: int
    total: int
    starts: bool
    item: int
    action: int
    source_item: int
    fallback: bool


class End(NamedTuple):
    batch_row: int
    user: bytes
    at_ms: int
    offset: int
    events: int


class Gone(NamedTuple):
    batch_row: int
    user: bytes
    at_ms: int
    offset: int
    session_events: int | None


Happened = Step | End | Gone | tuple[int, str]


@dataclass
class Kept:
    at_ms: int
    event_id: str | None
    session: str | None
    item: int
    starts: bool = False


class User:
    def __init__(self) -> None:
        self.ring: list[Kept] = []  # in the order of time
        self.total = self.session_events = 0
        self.last_ms, self.last_offset = 0, -1
        self.session: str | None = None
        self.is_open = False
        self.last_item = 0


class Plain:
    """The rules as they are told, with a list of everything and a search for every question."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary, config: CoreConfig) -> None:
        self.spec, self.vocabulary, self.config = spec, vocabulary, config
        self.users: dict[str, User] = {}
        self.watermark, self.bucket = -1, -1
        self.known = self.unknown = 0
        self.unfamiliar = False
        self.found: list[Happened] = []
        self.duplicates = self.heartbeats = 0

    def play(self, i: int, cleaned: Cleaned, pseudonym: Callable[[str], bytes]) -> None:
        self.i, self.pseudonym = i, pseudonym
        if isinstance(cleaned, Rejected):
            self.found.append((i, cleaned.reason))
        elif isinstance(cleaned, Heartbeat):
            self.heartbeats += 1
            self.move(cleaned.at_ms)
        else:
            self.click(cleaned)

    def click(self, click: Click) -> None:
        user = self.users.get(click.user_id)
        if user is not None and click.event_id in [
            name for name in (kept.event_id for kept in user.ring) if name
        ]:
            self.duplicates += 1
            return
        is_late = self.watermark - click.at_ms > self.config.allowed_lateness_ms
        if user is not None and len(user.ring) == self.spec.ring_length:
            is_late |= click.at_ms < min(kept.at_ms for kept in user.ring)
        if is_late:
            self.found.append((self.i, "late"))
            return
        self.move(click.at_ms)
        if click.user_id not in self.users:
            if len(self.users) >= self.config.max_users_per_partition:
                self.drop(min(self.users, key=lambda name: self.users[name].last_offset))
            self.users[click.user_id] = User()
        self.step(click, self.users[click.user_id])

    def move(self, at_ms: int) -> None:
        if at_ms > self.watermark:
            self.watermark = at_ms
            due = [
                (user.last_ms + self.spec.session_gap_ms, user.last_offset, name)
                for name, user in self.users.items()
                if user.is_open and user.last_ms + self.spec.session_gap_ms <= at_ms
            ]
            for deadline, _, name in sorted(due):
                self.end(name, deadline)
        if self.watermark // EXPIRY_BUCKET_MS != self.bucket:
            self.bucket = self.watermark // EXPIRY_BUCKET_MS
            before = self.watermark - self.config.user_ttl_ms
            idle = [(u.last_offset, n) for n, u in self.users.items() if u.last_ms < before]
            for _, name in sorted(idle):
                self.drop(name)

    def end(self, name: str, at_ms: int) -> None:
        user = self.users[name]
        user.is_open = False
        self.found.append(
            End(self.i, self.pseudonym(name), at_ms, user.last_offset, user.session_events)
        )

    def drop(self, name: str) -> None:
        user = self.users.pop(name)
        left = user.session_events if user.is_open else None
        self.found.append(
            Gone(self.i, self.pseudonym(name), self.watermark, user.last_offset, left)
        )

    def step(self, click: Click, user: User) -> None:
        item = 0 if click.item_id is None else item_hash(click.item_id)
        kept = Kept(click.at_ms, click.event_id, click.session_id, item)
        if user.total and click.at_ms < user.last_ms:
            gap_ms, source = self.put_late(kept, user)
        else:
            gap_ms, source = self.put_newest(click, kept, user)
        user.ring = user.ring[-self.spec.ring_length :]
        user.last_offset, user.total = self.i, user.total + 1
        code = self.vocabulary.code(click.item_id)
        if click.item_id is not None:
            self.count(code < self.spec.item_count)
        names = self.spec.actions
        self.found.append(
            Step(
                self.i,
                self.pseudonym(click.user_id),
                click.at_ms,
                -1 if kept.starts and self.spec.reset_at_session else gap_ms,
                -1 if click.dwell_ms is None else click.dwell_ms,
                user.session_events,
                user.total,
                kept.starts,
                code,
                names.index(click.action) if click.action in names else 1,
                source,
                self.unfamiliar,
            )
        )

    def put_newest(self, click: Click, kept: Kept, user: User) -> tuple[int, int]:
        gap_ms = click.at_ms - user.last_ms if user.total else -1
        kept.starts = not user.total or self.is_another_session(click, user, gap_ms)
        if kept.starts:
            if user.is_open:
                self.end(click.user_id, click.at_ms)
            user.session, user.session_events, user.last_item = click.session_id, 0, 0
        user.is_open |= kept.starts or gap_ms >= self.spec.session_gap_ms
        source = user.last_item
        user.last_ms, user.last_item = click.at_ms, kept.item or user.last_item
        user.session_events += 1
        user.ring.append(kept)
        return gap_ms, source

    def put_late(self, kept: Kept, user: User) -> tuple[int, int]:
        """At its place in time. Sessions by gap are told anew; the id of the session at hand is
        known, those of earlier ones are not."""
        earlier = [other for other in user.ring if other.at_ms <= kept.at_ms]
        behind, *later = user.ring[len(earlier) :]
        pause_ms = kept.at_ms - earlier[-1].at_ms if earlier else -1
        in_last = not any(other.starts for other in later)
        if not earlier:
            kept.starts = True
        elif kept.session and in_last and not behind.starts:
            kept.starts = kept.session != user.session
        elif kept.session and in_last and kept.session == user.session:
            kept.starts = True
        else:
            kept.starts = pause_ms >= self.spec.session_gap_ms
        if behind.session is None:
            behind.starts = behind.at_ms - kept.at_ms >= self.spec.session_gap_ms
        elif kept.starts and in_last:
            behind.starts = kept.session != user.session
        before = self.last_session(earlier)
        source = 0 if kept.starts else self.last_item(before, 0)
        user.ring = [*earlier, kept, behind, *later]
        ring = user.ring[-self.spec.ring_length :]
        session = self.last_session(ring)
        if session[0].starts:
            user.session_events = len(session)
            user.session = kept.session if session[0] is kept else user.session
            user.last_item = self.last_item(session, 0)
        else:
            user.session_events = max(user.session_events + 1, len(ring))
            user.last_item = self.last_item(session, user.last_item)
        return pause_ms, source

    def last_session(self, ring: list[Kept]) -> list[Kept]:
        starts = [n for n, kept in enumerate(ring) if kept.starts]
        return ring[starts[-1] :] if starts else ring

    def last_item(self, session: list[Kept], default: int) -> int:
        return next((kept.item for kept in reversed(session) if kept.item), default)

    def is_another_session(self, click: Click, user: User, gap_ms: int) -> bool:
        if click.session_id is not None:
            return click.session_id != user.session
        return gap_ms >= self.spec.session_gap_ms

    def count(self, is_known: bool) -> None:
        self.known, self.unknown = self.known + is_known, self.unknown + (not is_known)
        judged = self.known + self.unknown >= VOCABULARY_MIN_EVENTS
        if self.known + self.unknown >= VOCABULARY_HORIZON:
            self.known, self.unknown = self.known // 2, self.unknown // 2
        self.unfamiliar = judged and self.unknown > self.known


def admitted(
    values: list[bytes | None], cuts: set[int], engine: OnnxEngine, config: CoreConfig
) -> tuple[list[Happened], int, int]:
    """What the core's first pass makes of a stream that is cut anywhere."""
    store = PartitionStore(0, engine, config)
    found: list[Happened] = []
    duplicates = heartbeats = 0
    bounds = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    for start, end in pairwise(bounds):
        batch = event_batch(values[start:end], start)
        cleaned = [store.read(None, value, -1) for value in values[start:end]]
        done = 0
        while done < len(cleaned):
            before = done
            admission = Admission(batch, cleaned, store, engine)
            done = admission.run(done)
            assert done > before or admission.entries
            advance(admission.steps, store, engine)  # the rings that pass 1 asks about
            found += [happened(entry, admission, start) for entry in admission.entries]
            duplicates += admission.duplicates
            heartbeats += admission.heartbeats
    return found, duplicates, heartbeats


def happened(entry: Entry, admission: Admission, start: int) -> Happened:
    if isinstance(entry, Refusal):
        return start + entry.batch_row, entry.rejected.reason
    if isinstance(entry, SessionEnd):
        return End(
            start + entry.batch_row, entry.pseudonym, entry.at_ms, entry.offset, entry.events
        )
    if isinstance(entry, Eviction):
        left = None if entry.session is None else entry.session.events
        return Gone(start + entry.batch_row, entry.pseudonym, entry.at_ms, entry.offset, left)
    assert isinstance(entry, StepAt)
    step = admission.steps[entry.number]
    names = [name for name in Step._fields if name not in ("batch_row", "user", "action")]
    rest: dict[str, Any] = {name: getattr(step, name) for name in names}
    return Step(start + step.batch_row, step.pseudonym, action=step.mark & ACTION_CODE, **rest)


CONFIGS = st.fixed_dictionaries(
    {
        "max_users_per_partition": st.sampled_from([1, 2, 3, 100]),
        "allowed_lateness_ms": st.sampled_from([0, 600_000, 86_400_000]),
        "user_ttl_ms": st.sampled_from([86_400_000, 30 * 86_400_000]),
    }
)


@RELAXED
@given(
    values=st.one_of(flows(), flows(), st.lists(records(), max_size=60)),
    cuts=st.sets(st.integers(0, 60), max_size=8),
    settings_=CONFIGS,
    ring_length=st.sampled_from([2, 3, 8]),
    reset=st.booleans(),
)
def test_pass_1_is_the_rules_told_plainly(
    values: list[bytes | None],
    cuts: set[int],
    settings_: dict[str, Any],
    ring_length: int,
    reset: bool,
    tiny_engine_with: Make,
) -> None:
    engine = tiny_engine_with(
        ring_length=ring_length, reset_at_session=reset, item_count=8, top_k=3
    )
    config = CoreConfig(pseudonym_key=KEY, **settings_)
    store = PartitionStore(0, engine, config)
    plain = Plain(engine.spec, engine.vocabulary, config)
    for i, value in enumerate(values):
        plain.play(i, store.read(None, value, -1), store.pseudonym)
    assert admitted(values, cuts, engine, config) == (
        plain.found,
        plain.duplicates,
        plain.heartbeats,
    )


def click(at_ms: int, user: str = "u", **fields: object) -> bytes:
    return msgspec.json.encode({"user_id": user, "timestamp": START_MS + at_ms} | fields)


def reasons(values: list[bytes | None], engine: OnnxEngine) -> list[str]:
    found, duplicates, _ = admitted(values, set(), engine, CoreConfig(pseudonym_key=KEY))
    refused = [e[1] for e in found if not isinstance(e, Step | End | Gone)]
    return refused + ["duplicate"] * duplicates


def test_the_edge_of_lateness(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with()
    assert reasons([click(600_000), click(0, "v")], engine) == []
    assert reasons([click(600_001), click(0, "v")], engine) == ["late"]


def test_older_than_a_full_ring_is_late_and_as_old_is_not(tiny_engine_with: Make) -> None:
    engine = tiny_engine_with(ring_length=2)
    assert reasons([click(10), click(20), click(10)], engine) == []
    assert reasons([click(10), click(20), click(9)], engine) == ["late"]
    assert reasons([click(20), click(9)], engine) == []  # a ring with room takes any


def test_an_event_id_is_remembered_for_a_ring_of_events_and_by_user(
    tiny_engine_with: Make,
) -> None:
    engine = tiny_engine_with(ring_length=2)
    first, again = click(1, event_id="e"), click(2, event_id="e")
    assert reasons([first, again], engine) == ["duplicate"]
    assert reasons([first, click(1), again], engine) == ["duplicate"]
    assert reasons([first, click(1), click(1), again], engine) == []
    assert reasons([first, click(1, "v", event_id="e")], engine) == []
    number, text = click(1, event_id=7), click(2, event_id="7")
    assert reasons([number, text], engine) == ["duplicate"]


@pytest.mark.parametrize("before", range(1, 8))
@pytest.mark.parametrize("in_batch", range(4))
def test_what_a_ring_forgets_does_not_depend_on_where_a_batch_begins(
    before: int, in_batch: int, tiny_engine_with: Make
) -> None:
    """Ids and times of a ring of 3, of which some events are of the same batch as the question."""
    engine, config = tiny_engine_with(ring_length=3), CoreConfig(pseudonym_key=KEY)
    count = before + in_batch
    told = [click(1000 * n, event_id=f"e{n}") for n in range(count)]
    for n in range(count):
        _, duplicates, _ = admitted(
            [*told, click(1000 * count, event_id=f"e{n}")], {before}, engine, config
        )
        assert duplicates == (n >= count - 3)
        for early_ms in (0, 1):
            found, _, _ = admitted([*told, click(1000 * n - early_ms)], {before}, engine, config)
            is_late = (count, "late") in found
            assert is_late == (count >= 3 and 1000 * n - early_ms < 1000 * (count - 3))


def test_unknown_items_are_counted_over_the_last_two_thousand(tiny_engine_with: Make) -> None:
    engine, config = tiny_engine_with(), CoreConfig(pseudonym_key=KEY)
    store = PartitionStore(0, engine, config)
    plain = Plain(engine.spec, engine.vocabulary, config)
    items = ["i1"] * 5000 + ["x1"] * 3000
    clicks = [
        Click("u", None, None, item, "view", START_MS + n, None) for n, item in enumerate(items)
    ]
    admission = Admission(event_batch([None] * len(clicks)), [*clicks], store, engine)
    assert admission.run(0) == len(clicks)
    for n, one in enumerate(clicks):
        plain.play(n, one, store.pseudonym)
    told = [entry.fallback for entry in plain.found if isinstance(entry, Step)]
    found = admission.steps.of("fallback")
    assert found == told
    assert 5500 < found.index(True) < 7048


def test_a_session_ends_exactly_when_its_gap_has_passed(tiny_engine_with: Make) -> None:
    engine, config = tiny_engine_with(), CoreConfig(pseudonym_key=KEY)
    gap_ms = engine.spec.session_gap_ms
    for wait_ms, ends in ((gap_ms - 1, 0), (gap_ms, 1)):
        beat = msgspec.json.encode({"event_type": "_heartbeat", "timestamp": START_MS + wait_ms})
        found, _, _ = admitted([click(0), beat], set(), engine, config)
        assert sum(isinstance(entry, End) for entry in found) == ends
        found, _, _ = admitted([click(0), click(wait_ms)], set(), engine, config)
        steps = [entry for entry in found if isinstance(entry, Step)]
        assert [(step.starts, step.position) for step in steps[1:]] == [(bool(ends), 2 - ends)]
