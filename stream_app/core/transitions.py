"""Item-to-item transitions learned in the stream: the fallback where the model knows no items.

Bounded: the latest successors of the latest source items of a partition, and its latest items as
what to say where a source is new.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from itertools import islice

import msgspec

SUCCESSORS = 16
LATEST = 512
POPULAR = 64
# Ranking the latest items costs more than all else here: they are ranked anew once per so many
# offsets, a rule that batching cannot change.
RANK_EVERY_OFFSETS = 32


class _Record(msgspec.Struct, frozen=True, array_like=True):
    order: int  # offset of the last change: what restores the order of eviction
    successors: list[str]


class _Latest(msgspec.Struct, frozen=True, array_like=True):
    block: int  # offset // RANK_EVERY_OFFSETS of the last ranking
    items: list[str]
    popular: list[tuple[str, int]]


class Transitions:
    """Successor lists by the source's item hash, with the changes since they were last taken."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._successors: OrderedDict[int, tuple[int, deque[str]]] = OrderedDict()
        self._latest: deque[str] = deque(maxlen=LATEST)
        self._popular: list[tuple[str, int]] = []
        self._ranked_block = -1
        self._changed: dict[int, None] = {}
        self._latest_changed = False

    def __len__(self) -> int:
        return len(self._successors)

    def learn(self, source: int, item_id: str, offset: int) -> None:
        """An item was seen after ``source`` (an item hash; 0 where it opened its session)."""
        self._latest.append(item_id)
        block = offset // RANK_EVERY_OFFSETS
        if block != self._ranked_block:
            counts = Counter(self._latest).items()
            self._popular = sorted(counts, key=lambda pair: (-pair[1], pair[0]))[:POPULAR]
            self._ranked_block = block
        self._latest_changed = True
        if source == 0:
            return
        _, successors = self._successors.get(source, (0, deque(maxlen=SUCCESSORS)))
        successors.append(item_id)
        self._successors[source] = (offset, successors)
        self._successors.move_to_end(source)
        self._changed[source] = None
        if len(self._successors) > self._limit:
            gone_source, _ = self._successors.popitem(last=False)
            self._changed[gone_source] = None

    def rank(self, source: int, k: int) -> list[tuple[str, float]]:
        """Up to k likely next items with shares: first the source's successors, by count and then
        recency, then the partition's latest items. Shares sum to at most 1."""
        _, successors = self._successors.get(source, (0, deque()))
        ranked = _by_count(list(successors))[:k]
        known = {item for item, _ in ranked}
        # The share left for what never followed: one unseen successor's worth (Laplace).
        own = len(successors) / (len(successors) + 1)
        unseen = (pair for pair in self._popular if pair[0] not in known)
        rest = islice(unseen, k - len(ranked))
        total = max(len(self._latest), 1)
        shares = [(item, own * n / len(successors)) for item, n in ranked]
        shares += [(item, (1 - own) * n / total) for item, n in rest]
        return shares

    def take_changes(self) -> list[tuple[bytes, bytes | None]]:
        """(key, value or tombstone) of every list that changed since the last call."""
        changes: list[tuple[bytes, bytes | None]] = []
        for source in self._changed:
            held = self._successors.get(source)
            value = None if held is None else _pack(held[0], list(held[1]))
            changes.append((source.to_bytes(4, "big"), value))
        if self._latest_changed:
            changes.append((b"", self._packed_latest()))
        self._changed.clear()
        self._latest_changed = False
        return changes

    def records(self, count: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """(key, value) of all lists, in slices of ``count``. Those learned between two slices come
        in a later one, or not at all.
        """
        sources = list(self._successors)
        for first in range(0, len(sources), count):
            held = [(s, self._successors.get(s)) for s in sources[first : first + count]]
            yield [(s.to_bytes(4, "big"), _pack(h[0], list(h[1]))) for s, h in held if h]
        if self._latest:
            yield [(b"", self._packed_latest())]

    def _packed_latest(self) -> bytes:
        latest = _Latest(self._ranked_block, list(self._latest), self._popular)
        return msgspec.msgpack.encode(latest)

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Apply one record of the changelog; call ``order`` after the last one."""
        if value is None:
            self._successors.pop(int.from_bytes(key, "big"), None)
            return
        if not key:
            latest = msgspec.msgpack.decode(value, type=_Latest)
            self._latest = deque(latest.items, LATEST)
            self._popular, self._ranked_block = latest.popular, latest.block
            return
        record = msgspec.msgpack.decode(value, type=_Record)
        held = deque(record.successors, SUCCESSORS)
        self._successors[int.from_bytes(key, "big")] = (record.order, held)

    def order(self) -> None:
        """Restore the order of eviction, oldest change first."""
        by_offset = sorted(self._successors.items(), key=lambda entry: entry[1][0])
        self._successors = OrderedDict(by_offset)


def _pack(order: int, successors: list[str]) -> bytes:
    return msgspec.msgpack.encode(_Record(order, successors))


def _by_count(items: list[str]) -> list[tuple[str, int]]:
    latest = {item: place for place, item in enumerate(items)}
    return sorted(Counter(items).items(), key=lambda pair: (-pair[1], -latest[pair[0]]))
