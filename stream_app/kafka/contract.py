"""What the shell asks of the core that it feeds, and knows nothing else of."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from stream_app.core.batch import EventBatch

LATENCY = "latency"
"""Header of predictions: measured times, which must not be in key or value."""

Mark = Callable[[str], None]
"""Called by the core at the end of each stage."""


class Store(Protocol):
    """State of one partition, as far as the shell deals with it."""

    @property
    def next_offset(self) -> int:
        """Where the next batch has to start; 0 when nothing was ever played."""

    def restore(self, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Apply changelog records, oldest first. Raises where they are not this model's."""

    def records(self, count: int) -> Iterator[list[tuple[bytes, bytes | None]]]:
        """The whole state as changelog records, in slices between which batches may be played."""

    def recovered(self) -> None:
        """The changelog has been read to its end."""

    def take_changes(self) -> list[tuple[bytes, bytes | None]]:
        """Changelog records since the last call, partition record included."""


class Steering(Protocol):
    """What a partition's outputs depend on besides its input: which model answers, what was
    ordered, how much is left out. A micro-batch records what is in force from the next one on.
    """

    async def join(self, store: Any, wake: Callable[[], None], fixed_until: int) -> None:
        """Before the first micro-batch on a store: have ready what its record says is in force,
        and keep to it up to the source offset ``fixed_until``. ``wake`` is called when something
        may have become due. Raises where it cannot be had.
        """

    def leave(self, store: Any) -> None:
        """After the last one."""

    def in_force(self, store: Any) -> Any:
        """What the next micro-batch is played under."""

    def is_due(self, store: Any) -> bool:
        """Whether something else should be in force, so that an empty micro-batch is worth it."""


class Unsteered:
    """Nothing ever changes."""

    async def join(self, store: Any, wake: Callable[[], None], fixed_until: int) -> None: ...

    def leave(self, store: Any) -> None: ...

    def in_force(self, store: Any) -> Any: ...

    def is_due(self, store: Any) -> bool:
        return False


@dataclass(frozen=True)
class Core:
    """The pure part of the worker."""

    store: Callable[[int], Any]
    """A fresh `Store` for a partition."""
    play: Callable[[EventBatch, Any, Mark], Any]
    """Batch and store to an OutputBatch; its fields are named in `ShellConfig.outputs`."""
    steering: Steering = field(default_factory=Unsteered)
    measured: frozenset[str] = frozenset({"predictions"})
    """Output fields whose records carry the latency header."""
    identity: str = ""
    """What reads the state: another one cannot read this one's files."""
