"""Dead letters: which ones are wanted, what they come to, and what has to be sent again. Pure."""

import heapq
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from stream_app.core.decide import MAX_HEADER_BYTES, MAX_HEADER_NAME, MAX_REJECTED_HEADERS
from stream_app.core.events import Reason, RejectedRecord, Source
from stream_app.source_names import find_source, source_name

REPLAYED_FROM = "clickahead-replayed-from"
"""Header of a record that was sent again: the name of the record that was rejected."""


class Letter(msgspec.Struct, frozen=True):
    """The parts of a dead letter that a list needs; its bytes are passed over undecoded."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    value_size: int = 0

    @property
    def source(self) -> Source:
        return Source(self.topic, self.partition, self.offset)


decode_letter = msgspec.json.Decoder(Letter).decode
decode_whole = msgspec.json.Decoder(RejectedRecord).decode


class Wanted(NamedTuple):
    """Which dead letters are asked for; empty means all."""

    reasons: frozenset[Reason] = frozenset()
    partitions: frozenset[int] = frozenset()

    def has(self, letter: Letter) -> bool:
        return (not self.reasons or letter.reason in self.reasons) and (
            not self.partitions or letter.partition in self.partitions
        )


class Rejection(NamedTuple):
    """A dead letter and when it was written, in epoch milliseconds."""

    at_ms: int
    letter: Letter


class Tally:
    """Dead letters by reason, and the newest of them, in constant memory."""

    def __init__(self, newest: int) -> None:
        self.reasons: Counter[str] = Counter()
        self._limit = newest
        # The running number keeps letters from being compared, which have no order.
        self._newest: list[tuple[int, int, int, int, Letter]] = []

    def add(self, at_ms: int, letter: Letter) -> None:
        self.reasons[letter.reason] += 1
        entry = (at_ms, letter.partition, letter.offset, self.records, letter)
        if len(self._newest) < self._limit:
            heapq.heappush(self._newest, entry)
        elif self._limit:
            heapq.heappushpop(self._newest, entry)

    @property
    def records(self) -> int:
        return self.reasons.total()

    def newest(self) -> list[Rejection]:
        """The newest first."""
        ordered = sorted(self._newest, key=lambda entry: entry[:4], reverse=True)
        return [Rejection(at_ms, letter) for at_ms, *_, letter in ordered]


class Original(NamedTuple):
    """A record as it was sent first."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    def again(self, source: Source) -> list[tuple[str, bytes | None]]:
        """Its headers, and where it comes from; of a record that was rejected twice the latter."""
        kept = [(name, value) for name, value in self.headers if name != REPLAYED_FROM]
        return [*kept, (REPLAYED_FROM, source_name(source).encode())]


def original(letter: RejectedRecord) -> Original | None:
    """The record behind a dead letter, or None where the letter may have been cut."""
    is_whole = (
        len(letter.key or b"") == letter.key_size
        and len(letter.value or b"") == letter.value_size
        # What was cut of headers is not said, so a full one counts as cut.
        and len(letter.headers) < MAX_REJECTED_HEADERS
        and all(
            len(header.value) < MAX_HEADER_BYTES and len(header.name) < MAX_HEADER_NAME
            for header in letter.headers
        )
    )
    if not is_whole:
        return None
    return Original(letter.key, letter.value, [(h.name, h.value) for h in letter.headers])


def is_same(letter: RejectedRecord, found: Original) -> bool:
    """Whether a record of the input topic is the one behind a dead letter that was cut."""
    key, value = found.key or b"", found.value or b""
    return (
        len(value) == letter.value_size
        and blake2b(value, digest_size=16).hexdigest() == letter.value_blake2b
        and len(key) == letter.key_size
        and key.startswith(letter.key or b"")
    )


def replayed_from(headers: Sequence[tuple[str, bytes | None]]) -> Source | None:
    """Which dead letter a record of the input topic was sent for, if any."""
    for name, value in headers:
        if name == REPLAYED_FROM and value is not None:
            return find_source(value.decode("utf-8", "replace"))
    return None
