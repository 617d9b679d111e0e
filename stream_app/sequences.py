"""Click logs as training sees them: tokens and sessions that the worker's own core made.

The core runs over the log with an engine that answers nothing, so what training reads is what
serving will compute: the same cleaning, sessions, windows and features.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Literal

import msgspec
import numpy as np

from model.log import EventLog
from model.spec import (
    RESERVED_ACTIONS,
    Advance,
    Floats,
    Memory,
    ModelSpec,
    Rounds,
    Tokens,
    Vocabulary,
)
from stream_app.core import features
from stream_app.core.admit import Admission
from stream_app.core.batch import EventBatch
from stream_app.core.clean import Cleaned, reader
from stream_app.core.config import CoreConfig
from stream_app.core.entries import Entry, Eviction, SessionEnd, StepAt, Steps
from stream_app.core.rounds import advance
from stream_app.core.state import ACTION_CODE
from stream_app.core.store import PartitionStore
from stream_app.files import FileEvent
from stream_app.profile import LogProfile

BATCH_EVENTS = 8192
MAX_ACTIONS = 32
_FLOAT = re.compile(r"[+-]?\d*\.\d+(?:e[+-]?\d+)?")
# A file's own order and clock decide nothing here: it was sorted, and is replayed at once.
_LATENESS_MS = 86_400_000


class LogError(ValueError):
    """A log has nothing to learn from; the message says what is missing."""

    exit_code = 2


class ShapeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a model's spec can be set; None lets the log decide."""

    name: str = "gru"
    hidden_width: int = 128
    cold_buckets: int = 16
    min_item_count: int = 1
    max_items: int = 1_000_000
    features: Literal["auto", "none"] = "auto"
    reset_at_session: bool | None = None
    session_gap_ms: int = 1_800_000
    window_ms: int = 1_800_000
    ring_length: int = 50
    top_k: int = 20
    memory_dtype: Literal["float16", "float32"] = "float16"


class Silent:
    """An engine that answers nothing: it lets the core run for its tokens alone."""

    version, fingerprint = "none", bytes(8)
    calibration: Mapping[str, Floats] = {}

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        self.spec, self.vocabulary = spec, vocabulary

    def initial(self, rows: int) -> Memory:
        shape = (rows, self.spec.hidden_width)
        return Memory(np.zeros(shape, self.spec.memory_dtype), np.zeros(rows, np.float32))

    def advance(self, tokens: Tokens, memory: Memory, rounds: Rounds = ()) -> Advance:
        rows, spec = len(tokens.item), self.spec
        none = np.zeros(rows, np.float32)
        top = (rows, spec.top_k)
        return Advance(
            memory=self.initial(rows),
            item_surprise=none,
            action_surprise=none,
            top_items=np.zeros(top, np.int32),
            top_logp=np.zeros(top, np.float32),
            action_logp=np.zeros((rows, len(spec.actions)), np.float32),
            cart=none,
            purchase=none,
            gap_logp=np.zeros((rows, spec.gap_count - 1), np.float32),
        )


def cleaned(events: Iterable[FileEvent], config: CoreConfig) -> Iterator[Cleaned]:
    """What the core makes of each event of a file."""
    read = reader(config)
    return (read(event.key, event.value, event.received_at_ms) for event in events)


def shape(profile: LogProfile, config: ShapeConfig) -> tuple[ModelSpec, tuple[str, ...]]:
    """A model's spec and item ids for a log; LogError when the log has nothing to predict."""
    kept = [(n, item) for item, n in profile.items.items() if n >= config.min_item_count]
    kept.sort(key=lambda pair: (-pair[0], pair[1]))
    items = tuple(item for _, item in kept[: config.max_items])
    if len(items) < 2:
        raise LogError(
            f"the log has {profile.clicks} clicks on {len(items)} items (seen at least "
            f"{config.min_item_count} times) and {profile.rejected} rejected rows; a next-item "
            "model needs at least 2 items. Check the column names (--map) and the time unit."
        )
    if all(_FLOAT.fullmatch(item) for item in items):
        raise LogError(
            f"all {len(items)} item ids are fractional numbers, such as {items[0]!r}: ids that an "
            "export turned into floats, which the stream's own ids will not match, or a column "
            "that is no id. Write them as whole numbers or text (in pandas "
            '.astype("Int64").astype(str)), or name another column with --map.'
        )
    common = [name for name, _ in profile.actions.most_common(MAX_ACTIONS)]
    actions = RESERVED_ACTIONS + tuple(sorted(set(common) - set(RESERVED_ACTIONS)))
    use_features = config.features == "auto" and profile.is_timed
    reset = config.reset_at_session
    spec = ModelSpec(
        name=config.name,
        actions=actions,
        item_count=len(items),
        cold_buckets=config.cold_buckets,
        hidden_width=config.hidden_width,
        memory_dtype=config.memory_dtype,
        features=_useful_features(profile, actions) if use_features else (),
        gap_edges_ms=features.GAP_EDGES_MS if profile.is_timed else (),
        reset_at_session=profile.one_session_per_user if reset is None else reset,
        session_gap_ms=config.session_gap_ms,
        window_ms=config.window_ms,
        ring_length=config.ring_length,
        top_k=min(config.top_k, len(items)),
    )
    return spec, items


def _useful_features(profile: LogProfile, actions: tuple[str, ...]) -> tuple[str, ...]:
    """Features that can differ between this log's events."""
    single = len(profile.actions) == 1
    dull = set() if profile.with_dwell else {"dwell"}
    return tuple(
        name
        for name in features.names(actions)
        if name not in dull and not (single and name.startswith(features.SHARE_PREFIX))
    )


def build_log(
    events: Iterable[FileEvent],
    spec: ModelSpec,
    items: tuple[str, ...],
    config: CoreConfig,
    progress: Callable[[int], None] = lambda events: None,
) -> EventLog:
    """Run a log through the core; ``progress`` is told events as they are done."""
    config = msgspec.structs.replace(config, allowed_lateness_ms=_LATENESS_MS)
    engine = Silent(spec, Vocabulary(items, spec.cold_buckets))
    store, recorder = PartitionStore(0, engine, config), _Recorder(spec)
    for batch, part in batches(cleaned(events, config)):
        done = 0
        while done < len(part):
            admission = Admission(batch, part, store, engine)
            done = admission.run(done)
            results = advance(admission.steps, store, engine)
            dense = results.dense[: len(admission.steps)]
            recorder.record(admission.steps, admission.entries, dense)
        store.take_changes()
        progress(len(part))
    return recorder.log()


def batches(source: Iterable[Cleaned]) -> Iterator[tuple[EventBatch, list[Cleaned]]]:
    """Cleaned records in batches of one partition. The batches hold offsets only: that is all
    that admission reads of records which are cleaned already."""
    records, offset = iter(source), 0
    while part := list(islice(records, BATCH_EVENTS)):
        batch = EventBatch(
            topic="file",
            partition=0,
            offsets=range(offset, offset + len(part)),
            timestamps_ms=(),
            keys=(),
            values=(),
            headers=(),
            next_offset=offset + len(part),
        )
        yield batch, part
        offset += len(part)


class _Recorder:
    """Collects steps in the order in which the core applied them."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._users: dict[bytes, int] = {}
        self._sessions: dict[bytes, int] = {}  # user -> their newest session
        self._session_count = 0
        self._closed: set[int] = set()
        self._columns: dict[str, list[int]] = {
            name: [] for name in ("item", "action", "gap_ms", "at_ms", "user", "session")
        }
        self._dense: list[Floats] = []
        self._promoted: list[bool] = []

    def record(self, steps: Steps, entries: list[Entry], dense: Floats) -> None:
        columns = self._columns
        columns["item"] += steps.of("item")
        columns["action"] += (steps.columns["mark"] & ACTION_CODE).tolist()
        columns["gap_ms"] += steps.of("gap_ms")
        columns["at_ms"] += steps.of("at_ms")
        self._dense.append(dense)
        self._promoted += [click.promotion_id is not None for click in steps.click]
        users, starts = steps.pseudonym, steps.columns["starts"].tolist()
        for entry in entries:
            if isinstance(entry, SessionEnd | Eviction):
                self._closed.add(self._sessions[entry.pseudonym])
            elif isinstance(entry, StepAt):
                self._place(users[entry.number], starts[entry.number])

    def _place(self, pseudonym: bytes, starts: bool) -> None:
        if starts:
            self._sessions[pseudonym] = self._session_count
            self._session_count += 1
        self._columns["user"].append(self._users.setdefault(pseudonym, len(self._users)))
        self._columns["session"].append(self._sessions[pseudonym])

    def log(self) -> EventLog:
        """The recorded events, users contiguous, each user's in the order of the core."""
        columns = {name: np.array(column, np.int64) for name, column in self._columns.items()}
        order = np.argsort(columns["user"], kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
        session_start = np.flatnonzero(np.diff(columns["session"], prepend=-1))
        sessions = columns["session"][session_start]
        user_start = np.flatnonzero(np.diff(columns["user"][session_start], prepend=-1))
        promoted = np.array(self._promoted, bool)[order]
        width = len(self._spec.features)
        dense = np.concatenate([np.zeros((0, width), np.float32), *self._dense])[order]
        return EventLog(
            item=columns["item"].astype(np.int32),
            action=columns["action"].astype(np.int32),
            gap=features.gap_codes(columns["gap_ms"], self._spec),
            dense=dense,
            at_ms=columns["at_ms"],
            session_start=np.append(session_start, len(order)),
            user_start=np.append(user_start, len(session_start)),
            closed=np.isin(sessions, np.fromiter(self._closed, np.int64, len(self._closed))),
            promoted=promoted if promoted.any() else None,
        )
