"""The Faust table's storage: one store of the core per partition, the only copy of the state.

Nothing goes through Faust key by key. Micro-batches are played on a partition's store, and their
changes travel to the changelog with everything else that they caused.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, NoReturn

from faust.stores.base import Store
from faust.tables.table import Table
from faust.types import TP, EventT
from faust.types.stores import StoreT

log = logging.getLogger(__name__)


class Anchor(NamedTuple):
    """A place in a changelog that was committed, and by which it is known again."""

    end: int  # offset behind a record
    checksum: int  # of that record, see `packing.checksum`


class Partitions:
    """Stores by source partition, and up to where in the changelog each of them is true."""

    def __init__(self, create: Callable[[int], Any]) -> None:
        self.stores: dict[int, Any] = {}
        self._create = create
        self.anchors: dict[int, Anchor] = {}
        """By partition, the newest record of the changelog that is in the store."""
        self._true_to: dict[int, int] = {}

    def fresh(self, partition: int) -> Any:
        """Start a partition over, empty."""
        self.forget(partition)
        store = self.stores[partition] = self._create(partition)
        return store

    def read_to(self, partition: int, changelog_end: int) -> None:
        """A recovery ended: the store equals the changelog up to ``changelog_end``, behind which
        there may be a marker.
        """
        self._true_to[partition] = changelog_end

    def leave(self, partition: int, anchor: Anchor) -> None:
        """A lane that wrote ended: its store equals the changelog up to ``anchor``."""
        self.anchors[partition] = anchor
        self._true_to[partition] = anchor.end

    def true_to(self, partition: int) -> int | None:
        """The changelog offset up to which the store in memory is true, None without one."""
        return self._true_to.get(partition)

    def forget(self, partition: int) -> None:
        """The store does not equal the changelog, or is somebody else's now."""
        self.stores.pop(partition, None)
        self.anchors.pop(partition, None)
        self._true_to.pop(partition, None)


class BatchStore(Store[bytes, bytes]):
    """What Faust sees of `Partitions`."""

    def __init__(self, partitions: Partitions, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.partitions = partitions

    def persisted_offset(self, tp: TP) -> int | None:
        """Nothing outlives the process."""
        return None

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Only what stays with this worker is worth keeping."""
        kept = {
            tp.partition
            for tp in assigned
            if tp.topic == self.table.changelog_topic.get_topic_name()
        }
        for partition in self.partitions.stores.keys() - kept:
            self.partitions.forget(partition)

    def apply_changelog_batch(
        self,
        batch: Iterable[EventT[Any]],
        to_key: Callable[[Any], Any],
        to_value: Callable[[Any], Any],
    ) -> None:
        """As Faust's own recovery would call it; ours restores whole record batches."""
        for event in batch:
            message = event.message
            self.partitions.stores[message.partition].restore([(message.key, message.value)])

    def __len__(self) -> int:
        return len(self.partitions.stores)

    def __iter__(self) -> Iterator[bytes]:
        self._not_by_key()

    def __getitem__(self, key: bytes) -> bytes:
        self._not_by_key()

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._not_by_key()

    def __delitem__(self, key: bytes) -> None:
        self._not_by_key()

    def clear(self) -> None:
        self._not_by_key()

    def reset_state(self) -> None:
        """There are no files."""

    async def backup_partition(
        self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1
    ) -> None:
        """The changelog is the backup."""

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        """The changelog is the backup."""

    def _not_by_key(self) -> NoReturn:
        raise TypeError(
            f"The table {self.table_name} is played in micro-batches, partition by partition; it"
            " cannot be read or written by key."
        )


class BatchTable(Table[bytes, bytes]):
    """A Faust table with a changelog topic, stored by partition."""

    def __init__(self, *args: Any, partitions_of: Partitions, **kwargs: Any) -> None:
        self.partitions_of = partitions_of
        super().__init__(*args, key_type=bytes, value_type=bytes, **kwargs)

    def _new_store(self) -> StoreT[bytes, bytes]:
        return BatchStore(
            self.partitions_of, "batch://", self.app, self, table_name=self.name, loop=self.loop
        )
