"""An output of the past, made again from what the topics hold.

The state is restored from the changelog as it was at the last micro-batch before the output, the
input is played from there under the route that was recorded, and what comes out is held against
what was published. Nothing is guessed: what is not there any more ends in a refusal.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from model.spec import Engine
from stream_app.core.batch import Route
from stream_app.core.config import CoreConfig
from stream_app.core.events import Source
from stream_app.core.partition_record import PARTITION_KEY, ROUTE_FIELDS, PartitionRecord
from stream_app.core.store import PartitionStore
from stream_app.explanation import Evidence, Explanation, explanation_of
from stream_app.explanation_parts import unnamed_items
from stream_app.history import Commit, Past, Row
from stream_app.invocation import ExitCode, UserError
from stream_app.kafka.side_inputs import SideRecord
from stream_app.kafka.topic_reader import (
    Extent,
    extents,
    partitions_of,
    read_partition,
    record_at,
)
from stream_app.orders import CONTROL, ITEMS, Ledger
from stream_app.progress import Report
from stream_app.question import (
    Batches,
    Question,
    cause_of,
    click_of,
    items_of,
    recomputed,
    rewind_to,
)
from stream_app.rebuild import Player, check_count, restored
from stream_app.replay import InputRecord
from stream_app.source_names import source_name

RESOLVED_RECORDS = 50_000
"""How far back the input is searched for ids of items that no vocabulary knows."""


class BeyondHorizon(RuntimeError):
    """What the state is made of is not in the topics any more."""

    exit_code: ClassVar[int] = ExitCode.BEYOND_HORIZON


class Ground(NamedTuple):
    """Where everything is read from."""

    consumer: AIOKafkaConsumer
    topics: Mapping[str, str]  # by role, the changelog among them
    config: CoreConfig
    open_models: Callable[[Iterable[str]], Mapping[str, Engine]]
    """Engines of all these versions. Raises UserError for one that is not at hand."""
    horizon: str  # how long the changelog holds everything, for people
    tell: Report


async def travel(ground: Ground, question: Question, show_user: bool) -> Explanation:
    """Make the output again.

    Raises:
        BeyondHorizon: the changelog or the input topic no longer hold what it takes.
        UserError: no such record, a model that is not at hand, another pseudonym key.
        RebuildError: the topics contradict one another.
    """
    partition = question.source.partition
    past = await _past(ground, question)
    needed = {past.first_model, *(commit.record.live for commit in past.after)}
    if question.found is not None:
        needed.add(question.found.output.model)
    engines = ground.open_models(sorted(needed))
    store = restored(past, partition, engines[past.first_model], ground.config)
    first, batches = await _batches(ground, question, past)
    user = _user(question, batches, store)
    routes = await _routes(ground, past, store.pseudonym)
    player = Player(ground.topics["events"], store, engines, routes, user or b"")
    cause = cause_of(player, question, batches)
    if cause is None:
        raise UserError(
            f"{source_name(question.source)} was played again, and the output that is asked for did"
            " not come of it. Its topic was made anew, or the settings of the core are not those"
            " of the worker."
        )
    engine = engines[cause.route.live]
    seen = items_of(store, user, (record for _, records in batches for record in records))
    if unnamed_items(cause, engine, seen):
        seen += await _earlier_items(ground, store, user, question.source)
    made = recomputed(question, cause)
    return explanation_of(
        Evidence(question.source, question.found, question.along, made, past.before, first, user),
        cause, engine, seen, show_user,
    )  # fmt: skip


async def _past(ground: Ground, question: Question) -> Past:
    """State and commits around an output."""
    source, consumer = question.source, ground.consumer
    place = TopicPartition(ground.topics["changelog"], source.partition)
    if place not in await partitions_of(consumer, place.topic):
        raise UserError(f"{place.topic} has no partition {source.partition}.")
    rewind = rewind_to(question)
    held = (await extents(consumer, [place]))[place]
    async for chunk in read_partition(consumer, place, held):
        rewind.add([Row(r.offset, r.timestamp, r.key or b"", r.value) for r in chunk])
        if chunk:
            done = chunk[-1].offset + 1 - held.begin
            ground.tell("reading the changelog", done, held.end - held.begin)
        if rewind.done:
            break
    past = rewind.past()
    if not past.after:
        raise UserError(
            f"{place.topic} has no micro-batch with {source_name(source)}: no worker with this"
            " worker.app_id has taken that record."
        )
    witness = past.witness
    is_exact = past.is_whole if witness is None else await _is_there(consumer, place, witness)
    if not is_exact:
        raise BeyondHorizon(
            f"{place.topic} partition {place.partition} was compacted, and the state before"
            f" {source_name(source)} is not there any more. Outputs can be explained for"
            f" {ground.horizon} (min.compaction.lag.ms of that topic; for new topics the setting"
            " topics.explain_horizon_ms)."
        )
    return past


async def _is_there(consumer: AIOKafkaConsumer, place: TopicPartition, commit: Commit) -> bool:
    """Whether a commit lies in the log now, after all that was read."""
    record = await record_at(consumer, place, commit.offset)
    return record is not None and record.key == PARTITION_KEY


async def _batches(ground: Ground, question: Question, past: Past) -> tuple[int, Batches]:
    """The input from the restored state on, by micro-batch, and where it begins."""
    place = TopicPartition(ground.topics["events"], question.source.partition)
    held = (await extents(ground.consumer, [place]))[place]
    begin = held.begin if past.before is None else past.before.record.next_offset
    end = past.after[-1].record.next_offset
    if begin < held.begin:
        raise BeyondHorizon(
            f"{place.topic} partition {place.partition} holds nothing before offset {held.begin}"
            f" any more, and the state is of offset {begin}: the topic's retention (retention.ms)"
            " is shorter than the time since then."
        )
    records: list[InputRecord] = []
    async for chunk in read_partition(ground.consumer, place, Extent(begin, end)):
        records += [
            InputRecord(
                row.partition, row.offset, row.timestamp if row.timestamp_type else -1,
                row.key, row.value, row.headers,
            )
            for row in chunk
        ]  # fmt: skip
        if chunk:
            ground.tell("reading the input", chunk[-1].offset + 1 - begin, end - begin)
    batches, at = [], 0
    for commit in past.after:
        first = at
        while at < len(records) and records[at].offset < commit.record.next_offset:
            at += 1
        batches.append((commit, records[first:at]))
    _check(past, batches)
    return begin, batches


def _check(past: Past, batches: Batches) -> None:
    """Refuse an input that is not the one that the worker took."""
    before = None if past.before is None else past.before.record
    for commit, records in batches:
        check_count(records, before, commit.record)
        before = commit.record


async def _routes(
    ground: Ground, past: Past, pseudonym: Callable[[str], bytes]
) -> Callable[[PartitionRecord], Route]:
    """Routes as the partition's records say them, with both side inputs as of then."""
    ledger = Ledger(pseudonym)
    known = [commit.record for commit in (past.before, *past.after) if commit is not None]
    for role, as_of in (
        (CONTROL, max(record.as_of for record in known)),
        (ITEMS, max(record.items_as_of for record in known)),
    ):
        if not as_of:
            continue
        (place, *_) = await partitions_of(ground.consumer, ground.topics[role])
        held = (await extents(ground.consumer, [place]))[place]
        span = Extent(held.begin, min(held.end, as_of))
        async for chunk in read_partition(ground.consumer, place, span):
            ledger.take(role, [SideRecord(row.offset, row.key, row.value) for row in chunk])

    def route(record: PartitionRecord) -> Route:
        blocked, erasures = ledger.at(record.as_of, record.items_as_of)
        kept = {name: getattr(record, name) for name in ROUTE_FIELDS}
        return Route(blocked=blocked, erasures=erasures, **kept)

    return route


def _user(question: Question, batches: Batches, store: PartitionStore) -> bytes | None:
    """The pseudonym behind a question; None where its record names nobody."""
    record = next(
        (r for _, records in batches for r in records if r.offset == question.source.offset), None
    )
    click = None if record is None else click_of(store, record)
    own = None if click is None else store.pseudonym(click.user_id)
    if question.found is None:
        if record is None:
            raise UserError(f"The input topic holds no record {source_name(question.source)}.")
        return own
    said = bytes.fromhex(question.found.output.user)
    if own is not None and own != said:
        raise UserError(
            f"{source_name(question.source)} has another pseudonym here than in the output. Set"
            " core.pseudonym_key to the worker's."
        )
    return said


async def _earlier_items(
    ground: Ground, store: PartitionStore, user: bytes | None, source: Source
) -> list[str]:
    """Ids of items from the user's earlier records, as far as they are there and near."""
    place = TopicPartition(ground.topics["events"], source.partition)
    held = (await extents(ground.consumer, [place]))[place]
    begin = max(held.begin, source.offset - RESOLVED_RECORDS)
    found: list[str] = []
    async for chunk in read_partition(ground.consumer, place, Extent(begin, source.offset)):
        records = (InputRecord(r.partition, r.offset, -1, r.key, r.value) for r in chunk)
        found += items_of(store, user, records)
        if chunk:
            done = chunk[-1].offset + 1 - begin
            ground.tell("looking for names of items", done, source.offset - begin)
    return found
