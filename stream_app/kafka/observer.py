"""What the shell tells whoever watches it. Plain calls, so that it needs no metrics library."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

SnapshotOutcome = Literal["written", "restored", "refused", "failed"]


class Done(NamedTuple):
    """One micro-batch, committed."""

    partition: int
    outputs: Any  # the core's OutputBatch
    timestamps_ms: Sequence[int]  # LogAppendTime of its events, -1 where unknown
    done_ms: float  # epoch, when the commit was acknowledged
    stage_seconds: Mapping[str, float]  # wait of the oldest, the core's stages, pack and commit
    oversized: int  # outputs that a stub stands for
    route: Any = None  # what `Steering.in_force` said when it was played
    received_ms: Sequence[float] = ()  # epoch, when the poll returned that brought each event


class Progress(NamedTuple):
    """Where one partition stands."""

    partition: int
    store: Any  # the core's PartitionStore
    next_offset: int
    lag_records: int  # committed input that is not processed yet
    lag_seconds: float  # age of the oldest such record, 0 without one


class Restored(NamedTuple):
    """State read back from the changelog."""

    partitions: int
    warm: int  # of them, those whose state was still in memory and still true
    records: int
    bytes: int
    seconds: float
    from_files: int = 0  # partitions whose state came from a file, up to the changelog's tail


class Snapshotted(NamedTuple):
    """What became of a partition's file."""

    partition: int
    outcome: SnapshotOutcome
    records: int = 0
    bytes: int = 0
    seconds: float = 0.0


class Observer(Protocol):
    """All methods are called from the event loop and must not block."""

    def batch(self, done: Done) -> None: ...

    def progress(self, progress: Progress) -> None:
        """Once a second and partition."""

    def rebalanced(self, partitions: Collection[int]) -> None:
        """The group gave this worker these partitions; they are being restored."""

    def restoring(self, read: int, total: int) -> None:
        """Offsets of the changelog read so far, of all that have to be."""

    def restored(self, restored: Restored) -> None:
        """Ready: from now on every partition is served."""

    def snapshot(self, snapshot: Snapshotted) -> None:
        """A file of the state was written or read, or could not be."""


class Unobserved:
    """Tells nobody."""

    def batch(self, done: Done) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def rebalanced(self, partitions: Collection[int]) -> None: ...

    def restoring(self, read: int, total: int) -> None: ...

    def restored(self, restored: Restored) -> None: ...

    def snapshot(self, snapshot: Snapshotted) -> None: ...
