"""Did the workers publish and keep what `replay` makes of the same input and orders, no more and no
less?

The input topic is the truth: whatever producers and brokers went through, its records are what
the workers had to answer.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from model.spec import Engine
from stream_app.core.config import CoreConfig
from stream_app.kafka.dump import DumpRecord
from stream_app.orders import Ledger
from stream_app.replay import OUTPUTS, InputRecord, Replay
from stream_app.schedule import Course, Schedule
from stream_app.verify import Audit, AuditBooks

BATCH_ROWS = 4_096
SHOWN = 5  # differences of one kind that are told

KeyValue = tuple[bytes | None, bytes | None]
State = dict[bytes, bytes]


@dataclass
class Topics:
    """Records by partition: of the outputs, and the changelog as compaction would leave it."""

    outputs: dict[tuple[str, int], list[KeyValue]] = field(default_factory=dict)
    state: dict[int, State] = field(default_factory=dict)


class Verdict(NamedTuple):
    """What is wrong; nothing is when all numbers are 0, duplicates aside where those may be."""

    lost: int = 0  # records that had to be there
    duplicated: int = 0  # records beyond the first, byte for byte the same
    mismatched: int = 0  # records and rows of state that no undisturbed run has, or not there
    differences: tuple[str, ...] = ()

    def __add__(self, other: "Verdict") -> "Verdict":  # type: ignore[override]
        return Verdict(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def passes(self, delivery: str) -> bool:
        doubles = self.duplicated if delivery == "exactly_once" else 0
        return not (self.lost or self.mismatched or doubles)


class Orders(NamedTuple):
    """What the workers were told while they ran, as far as outputs depend on it."""

    schedule: Schedule
    ledger: Ledger
    engines: Mapping[str, Engine]

    def course(self, partition: int) -> Course:
        legs = self.schedule.get(partition, ())
        return Course({partition: legs}, self.ledger, self.engines)


def expected(
    inputs: Mapping[int, Sequence[DumpRecord]],
    topic: str,
    engine: Engine,
    config: CoreConfig,
    orders: Orders | None = None,
) -> Topics:
    """What one worker that nobody disturbs makes of the input and of the same orders at the same
    offsets, partition by partition."""
    wanted = Topics()
    for partition in sorted({*inputs, *(orders.schedule if orders is not None else ())}):
        course = None if orders is None else orders.course(partition)
        replay = Replay(topic, engine, config, course)
        rows = [input_record(record) for record in inputs.get(partition, ())]
        parts = [
            replay.feed(rows[start : start + BATCH_ROWS])
            for start in range(0, len(rows), BATCH_ROWS)
        ]
        for part in [*parts, replay.finish()]:
            for role in OUTPUTS:
                made = wanted.outputs.setdefault((role, partition), [])
                made += [(output.key, output.value) for output in part[role]]
        store = replay.stores.get(partition)
        wanted.state[partition] = folded(store.take_changes() if store is not None else [])
    return wanted


def input_record(record: DumpRecord) -> InputRecord:
    arrived_ms = record.timestamp_ms if record.timestamp_type == "log_append" else -1
    return InputRecord(
        record.partition, record.offset, arrived_ms, record.key, record.value,
        tuple((name, value or b"") for name, value in record.headers),
    )  # fmt: skip


def folded(changes: Sequence[tuple[bytes | None, bytes | None]]) -> State:
    """What compaction leaves of a changelog."""
    return {
        key: value for key, value in dict(changes).items() if key is not None and value is not None
    }


def balance(inputs: Mapping[int, Sequence[DumpRecord]], found: Topics) -> Audit:
    """The books of `stream_app.verify`, which know nothing of the core: an outcome per input."""
    books = AuditBooks()
    for records in inputs.values():
        for record in records:
            books.event(record.partition, record.offset, record.value)
    for (role, _), outputs in found.outputs.items():
        for _, value in outputs:
            if value is not None and role == "predictions":
                books.prediction(value)
            elif value is not None and role == "rejected":
                books.refusal(value)
    return books.balance()


def compare(found: Topics, wanted: Topics, delivery: str) -> Verdict:
    """All partitions of all outputs, and the state."""
    verdict = Verdict()
    places = found.outputs.keys() | wanted.outputs.keys()
    for role, partition in sorted(places):
        where = f"{role}-{partition}"
        seen, made = (t.outputs.get((role, partition), []) for t in (found, wanted))
        verdict += compare_records(where, seen, made, delivery)
    for partition in sorted(found.state.keys() | wanted.state.keys()):
        seen_state, made_state = (t.state.get(partition, {}) for t in (found, wanted))
        verdict += compare_state(partition, seen_state, made_state)
    return verdict


def compare_records(
    where: str, seen: Sequence[KeyValue], made: Sequence[KeyValue], delivery: str
) -> Verdict:
    """Records of one partition. One that no undisturbed run has stands for one that it has, so
    that an altered record is no lost one.

    Exactly once, the order is that of the undisturbed run; at least once, that of the first
    appearances is.
    """
    if seen == made:
        return Verdict()
    had, has = Counter(made), Counter(seen)
    strange = [record for record in seen if record not in had]
    missing = list((had - has).elements())
    doubled = [record for record in (has - had).elements() if record in had]
    differences = [
        *(f"{where}: missing {shown(record)}" for record in missing[:SHOWN]),
        *(f"{where}: not in the undisturbed run {shown(record)}" for record in strange[:SHOWN]),
    ]
    if delivery == "exactly_once":
        differences += [f"{where}: twice {shown(record)}" for record in doubled[:SHOWN]]
    strayed = 0
    if not (strange or missing):
        firsts = list(dict.fromkeys(seen))
        strayed = sum(a != b for a, b in zip(firsts, dict.fromkeys(made), strict=True))
        if strayed:
            differences.append(f"{where}: {strayed} records in another place")
    return Verdict(
        lost=max(0, len(missing) - len(strange)),
        duplicated=len(doubled),
        mismatched=len(strange) + strayed,
        differences=tuple(differences),
    )


def compare_state(partition: int, seen: State, made: State) -> Verdict:
    """Rows of one partition's changelog, its own record included."""
    wrong = [key for key in seen.keys() | made.keys() if seen.get(key) != made.get(key)]
    differences = [
        f"state-{partition}: {key!r} is {shown((None, seen.get(key)))},"
        f" not {shown((None, made.get(key)))}"
        for key in sorted(wrong)[:SHOWN]
    ]
    return Verdict(mismatched=len(wrong), differences=tuple(differences))


def shown(record: KeyValue) -> str:
    key, value = record
    text = repr(value)
    return f"{key!r} {text[:160]}{'…' if len(text) > 160 else ''}"
