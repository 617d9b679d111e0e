"""A partition's past from its changelog: the state as it was, and the commits behind it. Pure.

Every micro-batch ends with the partition's record, which supersedes the one before. Compaction
removes what is superseded, but only up to a point in the log, and up to there it leaves no more
than one partition record. So where the partition record *before* a commit is still there,
compaction has not come as far as that commit, and the records up to it make exactly its state.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from stream_app.core.partition_record import PARTITION_KEY, PartitionRecord


class Commit(NamedTuple):
    """A micro-batch as the changelog tells it: its partition record, and when it was written."""

    offset: int
    at_ms: int
    record: PartitionRecord


class Row(NamedTuple):
    """A committed record of the changelog."""

    offset: int
    at_ms: int
    key: bytes
    value: bytes | None


class Past(NamedTuple):
    """The state at the commit ``before``, and all commits behind it that were asked for.

    ``witness`` is the commit before ``before``: while it lies in the log, nothing of the state was
    compacted away. ``before`` is None where no such commit is there; then the state is a fresh one
    if the log ``is_whole``: it lacks no record up to the first commit.
    """

    witness: Commit | None
    before: Commit | None
    state: dict[bytes, bytes]
    after: list[Commit]
    is_whole: bool

    @property
    def first_model(self) -> str:
        """The version that answered at the first of ``after``."""
        if self.before is not None:
            return self.before.record.live
        record = self.after[0].record
        # What the first micro-batch recorded is in force behind it.
        return record.models[0].version if 0 in record.models else record.live


LEADING_MARKERS = 16
"""Offsets that a log may begin with that hold no record: markers of its first owners' transactions.

Should they be records that compaction took instead, the input still has to hold as many records as
the first commit counts, and what is made of them is compared with what was published."""


class Rewind:
    """Folds a changelog, oldest record first, up to the last commit that ``is_before``; then
    collects commits until one ``is_past``."""

    def __init__(
        self,
        is_before: Callable[[Commit], bool],
        is_past: Callable[[Commit], bool],
        leading_markers: int = 0,
    ) -> None:
        self._is_before, self._is_past = is_before, is_past
        self._state: dict[bytes, bytes] = {}
        self._pending: list[Row] = []
        self._witness: Commit | None = None
        self._before: Commit | None = None
        self._after: list[Commit] = []
        self._leading_markers = leading_markers
        self._first_offset: int | None = None
        self._rows_seen = 0
        self._is_whole = False
        self.done = False

    def add(self, rows: Sequence[Row]) -> None:
        """Take records in; once it is ``done`` no more are needed."""
        for row in rows:
            if self.done:
                return
            if self._first_offset is None:
                self._first_offset = row.offset
            self._rows_seen += 1
            if not self._after:
                self._pending.append(row)
            if row.key == PARTITION_KEY and row.value is not None:
                self._commit(Commit(row.offset, row.at_ms, decode_record(row.value)))

    def past(self) -> Past:
        return Past(self._witness, self._before, self._state, self._after, self._is_whole)

    def _commit(self, commit: Commit) -> None:
        if self._before is None and not self._after:
            # Compaction would have taken the partition record of any batch before this one.
            first = self._first_offset or 0
            is_contiguous = commit.offset + 1 - first == self._rows_seen
            self._is_whole = is_contiguous and first <= self._leading_markers
        if self._after or not self._is_before(commit):
            self._after.append(commit)
            self._pending.clear()
            self.done = self._is_past(commit)
            return
        self._witness, self._before = self._before, commit
        for row in self._pending:
            if row.value is None:
                self._state.pop(row.key, None)
            else:
                self._state[row.key] = row.value
        self._pending.clear()


def decode_record(value: bytes) -> PartitionRecord:
    """A partition record; msgspec.DecodeError for what is none."""
    return msgspec.msgpack.decode(value, type=PartitionRecord)
