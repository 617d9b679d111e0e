"""Two baselines that every score is shown beside: popularity, and first-order Markov.

Both are counts over the training log, kept with the model, so that any test file can be measured
against them later. A popular list and "what followed this item most often" are hard to beat by
more than a few points; a net that does not beat them is not worth serving.
"""

from pathlib import Path

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from model.checkpoint import CheckpointError, write_atomically
from model.data import NONE, memory_starts, stretch_of
from model.log import EventLog, Longs
from model.ranking import MISS
from model.spec import Ints, ModelSpec

BASELINES_FILE = "baselines.safetensors"


class Baselines(msgspec.Struct, frozen=True):
    """Counts over V known items; the transition counts are sparse rows by the item before."""

    popularity: Longs  # [V] events of each item
    row_start: Longs  # [V+1]
    follower: Ints  # [nnz] item that came next, ascending in each row
    count: Longs  # [nnz] how often


def fit(log: EventLog, spec: ModelSpec) -> Baselines:
    """Count items, and pairs of items that followed each other in a memory (session or user)."""
    memory = stretch_of(memory_starts(log, spec), log.events)
    bearing = np.flatnonzero(log.item < spec.no_item)
    item, memory = log.item[bearing].astype(np.int64), memory[bearing]
    known = item < spec.item_count
    pair = (memory[1:] == memory[:-1]) & known[1:] & known[:-1]
    code, count = np.unique(item[:-1][pair] * spec.item_count + item[1:][pair], return_counts=True)
    rows = np.bincount(code // spec.item_count, minlength=spec.item_count)
    return Baselines(
        popularity=np.bincount(item[known], minlength=spec.item_count),
        row_start=np.append(0, np.cumsum(rows)),
        follower=(code % spec.item_count).astype(np.int32),
        count=count.astype(np.int64),
    )


def save(directory: Path, baselines: Baselines) -> None:
    """Write the counts beside a checkpoint."""
    arrays = {name: getattr(baselines, name) for name in baselines.__struct_fields__}
    write_atomically(directory / BASELINES_FILE, save_arrays(arrays))


def load(directory: Path, spec: ModelSpec) -> Baselines:
    """Read the counts of a checkpoint, or raise CheckpointError."""
    path = directory / BASELINES_FILE
    try:
        baselines = Baselines(**load_arrays(path.read_bytes()))
    except (OSError, SafetensorError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); train the model again") from None
    if len(baselines.popularity) != spec.item_count:
        raise CheckpointError(
            f"{path} counts {len(baselines.popularity)} items, the model {spec.item_count}; "
            "the two come from different trainings"
        )
    return baselines


class Ranker:
    """Exact ranks under full ranking, ties worst, from the sparse counts alone."""

    def __init__(self, baselines: Baselines) -> None:
        self.counts = baselines
        self.falling = np.sort(-baselines.popularity)

    def popular(self, target: int, removed: Ints) -> int:
        """Rank of ``target`` by popularity once the items ``removed`` (sorted) are taken out."""
        if target >= len(self.counts.popularity) or _holds(removed, target):
            return MISS
        return self._as_popular(target) - self._as_popular_among(target, removed)

    def markov(self, last_item: int, target: int, removed: Ints) -> int:
        """Rank of ``target`` by how often it followed ``last_item``, then by popularity."""
        counts = self.counts
        known = len(counts.popularity)
        if target >= known or _holds(removed, target):
            return MISS
        if last_item == NONE or last_item >= known:
            return self.popular(target, removed)
        row = slice(counts.row_start[last_item], counts.row_start[last_item + 1])
        follower, count = counts.follower[row], counts.count[row]
        if len(removed):
            kept = ~np.isin(follower, removed, assume_unique=True)
            follower, count = follower[kept], count[kept]
        fame = counts.popularity[follower]
        mine = counts.popularity[target]
        place = int(np.searchsorted(follower, target))
        if place < len(follower) and follower[place] == target:
            ahead = (count > count[place]) | ((count == count[place]) & (fame >= mine))
            return int(np.count_nonzero(ahead))
        others = self._as_popular(target) - self._as_popular_among(target, removed)
        return len(follower) + others - int(np.count_nonzero(fame >= mine))

    def _as_popular(self, target: int) -> int:
        """Items at least as popular as ``target``, itself included."""
        return int(np.searchsorted(self.falling, -self.counts.popularity[target], side="right"))

    def _as_popular_among(self, target: int, items: Ints) -> int:
        fame = self.counts.popularity
        return int(np.count_nonzero(fame[items] >= fame[target]))


def _holds(sorted_codes: Ints, code: int) -> bool:
    place = int(np.searchsorted(sorted_codes, code))
    return place < len(sorted_codes) and int(sorted_codes[place]) == code
