"""Whether a training fits into a machine's memory, asked before it begins."""

import math
import os

import msgspec

from model.config import TrainConfig
from model.data import DataError
from model.net_shape import weight_shapes
from model.spec import ModelSpec

# torch, its threads and a batch.
FIXED_BYTES = 600 << 20
# Weights, gradients and two moments; the same without gradients in a saved state, and its bytes.
COPIES = 4 + 3
EVENT_BYTES = 100


class CapacityError(DataError):
    """The training needs more memory than there is."""


def training_bytes(spec: ModelSpec, config: TrainConfig, events: int) -> int:
    """About what a training holds at its peak."""
    weights = sum(math.prod(shape) for shape in weight_shapes(spec, config.net_shape).values())
    copies = COPIES + (1 if config.averaging else 0)
    # The softmax holds the items' directions and its own gradient of them.
    directions = 2 * spec.item_count * spec.hidden_width
    return FIXED_BYTES + 4 * (copies * weights + directions) + EVENT_BYTES * events


def machine_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_fits(spec: ModelSpec, config: TrainConfig, events: int, memory_bytes: int) -> None:
    """Raise CapacityError unless the training fits into ``memory_bytes``."""
    needed = training_bytes(spec, config, events)
    if needed <= memory_bytes:
        return
    spare = memory_bytes - training_bytes(_without_items(spec), config, events)
    per_item = (needed - training_bytes(_without_items(spec), config, events)) / spec.item_count
    fitting = max(0, int(0.9 * spare / per_item))
    advice = (
        f"--set max_items={fitting} keeps the most frequent items"
        if fitting >= 2
        else "use a machine with more memory"
    )
    raise CapacityError(
        f"{spec.item_count:,} items of {spec.hidden_width} numbers need about "
        f"{needed / 1e9:.1f} GB to be trained, and there are {memory_bytes / 1e9:.1f} GB; "
        f"{advice}, and --set hidden_width=N makes each smaller"
    )


def _without_items(spec: ModelSpec) -> ModelSpec:
    return msgspec.structs.replace(spec, item_count=1, top_k=1)
