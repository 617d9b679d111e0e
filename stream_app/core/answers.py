"""Which predictions a part of a batch gives rise to, in columns: one for each step, and behind a
late one the correction of what was said of its user's newest event."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from model.spec import ModelSpec
from stream_app.core.batch import EventBatch, OutputBatch, Route
from stream_app.core.entries import Steps
from stream_app.core.events import Fallback, RankedItem
from stream_app.core.newest import Newest, newest_of
from stream_app.core.results import Results
from stream_app.core.store import PartitionStore

# Under overload one known item in so many is counted.
SEEN_EVERY = 64

FALLBACKS: tuple[Fallback | None, ...] = (None, "out_of_vocabulary", "overload")
OUT_OF_VOCABULARY, OVERLOAD = 1, 2

Numbers = npt.NDArray[np.int64]


class Answers(msgspec.Struct, frozen=True):
    """Columns of predictions [P] in the order in which they go out."""

    rows: Numbers  # of the batch
    users: Sequence[bytes]
    event_ids: Sequence[str]
    entries: Numbers  # of the results
    offsets: Numbers
    at_ms: Numbers
    revisions: Numbers
    fallbacks: npt.NDArray[np.uint8]  # places in FALLBACKS
    lists: Numbers  # places in ``ranked``, -1: the model's items
    ranked: Sequence[list[RankedItem]]

    def of(self, chosen: Numbers) -> "Answers":
        """The same of some predictions, in another order."""
        numbers = chosen.tolist()
        return Answers(
            rows=self.rows[chosen],
            users=[self.users[k] for k in numbers],
            event_ids=[self.event_ids[k] for k in numbers],
            entries=self.entries[chosen],
            offsets=self.offsets[chosen],
            at_ms=self.at_ms[chosen],
            revisions=self.revisions[chosen],
            fallbacks=self.fallbacks[chosen],
            lists=self.lists[chosen],
            ranked=self.ranked,
        )


class Counted:
    """What followed in the stream itself, counted: learned from steps, and told where the model's
    items say nothing."""

    def __init__(
        self, spec: ModelSpec, store: PartitionStore, route: Route, most: int, out: OutputBatch
    ) -> None:
        self._spec, self._store, self._route, self._out = spec, store, route, out
        self._most = most
        self._seen_most = -1  # its place among ``ranked``, -1: to be ranked anew
        self.ranked: list[list[RankedItem]] = []

    def fallbacks(self, steps: Steps) -> npt.NDArray[np.uint8]:
        """By step [N]."""
        found = steps.columns["fallback"] * np.uint8(OUT_OF_VOCABULARY)
        if self._route.degraded >= 3:
            found[found == 0] = OVERLOAD
        return found

    def learns(self, steps: Steps, offsets: Numbers) -> tuple[set[int], set[int]]:
        """Steps whose items are unknown, and those whose known items are only counted."""
        item, spec = steps.columns["item"], self._spec
        is_known = item < spec.item_count
        unknown, seen = set[int](), set[int]()
        if np.count_nonzero(is_known) < len(is_known):
            unknown.update(np.flatnonzero(~is_known & (item != spec.no_item)).tolist())
        if self._route.degraded:
            seen.update(np.flatnonzero(is_known & (offsets % SEEN_EVERY == 0)).tolist())
        return unknown, seen

    def learn(self, source: int, item_id: str, offset: int) -> None:
        self._store.transitions.learn(source, item_id, offset)
        self._seen_most = -1

    def tell(self, fallback: int, item: int) -> int:
        """The place among ``ranked`` of what followed ``item``, a hash, 0: none; under overload of
        what was seen most."""
        if fallback == OVERLOAD:
            if self._seen_most < 0:
                self._seen_most = self._rank(0)
            return self._seen_most
        record = self._store.record
        if not record.said_out_of_vocabulary:
            record.said_out_of_vocabulary = True
            self._out.notices.append("out_of_vocabulary")
        return self._rank(item)

    def _rank(self, item: int) -> int:
        blocked = self._route.blocked
        found = self._store.transitions.rank(item, self._most + len(blocked))
        kept = [RankedItem(item, round(p, 6)) for item, p in found if item not in blocked]
        self.ranked.append(kept[: self._most])
        return len(self.ranked) - 1


def answers(
    batch: EventBatch,
    store: PartitionStore,
    steps: Steps,
    results: Results,
    offsets: Numbers,
    counted: Counted,
) -> Answers:
    """The predictions of steps whose records have these ``offsets`` [N]; ``counted`` learns."""
    n = len(steps)
    newest = {k: newest_of(k, steps, batch, store) for k in steps.late}
    fallbacks = counted.fallbacks(steps)
    lists, told = _count(steps, offsets, fallbacks, newest, counted)
    ids = [click.event_id for click in steps.click]
    every = Answers(
        rows=steps.columns["batch_row"].copy(),
        users=steps.pseudonym,
        event_ids=_named(ids, offsets, batch),
        entries=np.arange(n),
        offsets=offsets,
        at_ms=steps.columns["at_ms"].copy(),
        revisions=np.zeros(n, np.int64),
        fallbacks=fallbacks,
        lists=lists,
        ranked=counted.ranked,
    )
    found = {k: one for k, one in newest.items() if one is not None}
    return _corrected(every, found, told, results, batch) if found else every


def _named(ids: list[str | None], offsets: Numbers, batch: EventBatch) -> list[str]:
    """Event ids, made up where they are missing."""
    if all(ids):
        return ids  # type: ignore[return-value]
    place = f"{batch.topic}-{batch.partition}-"
    return [own or f"{place}{offset}" for own, offset in zip(ids, offsets.tolist(), strict=True)]


def _count(
    steps: Steps,
    offsets: Numbers,
    fallbacks: npt.NDArray[np.uint8],
    newest: dict[int, Newest | None],
    counted: Counted,
) -> tuple[Numbers, dict[int, int]]:
    """In order, learn from steps and tell what was learned where that is asked for: its places by
    step [N], and by late step for the correction."""
    lists, told = np.empty(len(offsets), np.int64), dict[int, int]()
    lists.fill(-1)
    unknown, seen = counted.learns(steps, offsets)
    told_of = np.flatnonzero(fallbacks).tolist() if np.count_nonzero(fallbacks) else []
    for k in sorted(unknown | seen | set(told_of)):
        item_id, offset, step = steps.click[k].item_id, int(offsets[k]), steps[k]
        if item_id is not None and (k in unknown or k in seen):
            # Only that it was seen: to learn and rank what follows what costs more than the model.
            source = 0 if k in seen else step.source_item
            counted.learn(source, item_id, offset)
        if fallbacks[k]:
            lists[k] = counted.tell(fallbacks[k], step.item_hash or step.source_item)
            if (one := newest.get(k)) is not None:
                told[k] = counted.tell(fallbacks[k], one.item)
    return lists, told


def _corrected(
    every: Answers,
    found: dict[int, Newest],
    told: dict[int, int],
    results: Results,
    batch: EventBatch,
) -> Answers:
    """Say anew what the users' newest events lead to, now that the late steps are known."""
    late = np.array(list(found), np.int64)
    chosen = np.insert(np.arange(len(every.offsets)), late + 1, late)
    made = every.of(chosen)
    for number, (k, newest) in enumerate(found.items()):
        place = k + number + 1
        (name,) = _named([newest.event_id], np.array([newest.offset]), batch)
        made.event_ids[place] = name  # type: ignore[index]
        made.entries[place] = results.left_by(k)
        made.offsets[place], made.at_ms[place] = newest.offset, newest.at_ms
        made.revisions[place] = newest.revision
        made.lists[place] = told.get(k, -1)
    return made
