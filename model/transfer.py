"""Begin from a model that was trained on another log: its vocabulary is kept and extended."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec
import numpy as np

from model.architectures import build_net
from model.checkpoint import Checkpoint
from model.config import ConfigError, at_least, check_bounds
from model.content import Content
from model.data import NONE, next_index, stretch_of
from model.guide import Guide
from model.log import EventLog
from model.net_shape import NetShape, weight_shapes
from model.spec import OTHER, Floats, ModelSpec, SpecError, item_hash
from model.tasks import base_logits, task_targets
from model.tower import tower_vectors

Frozen = Literal["none", "embedding", "recurrent", "body"]
_HEADS = ("action_head", "intent_head", "gap_head", "decoder", "task_head")
# Weights with a row for each action.
BY_ACTION = (
    *("action_embedding", "action_head.weight", "action_head.bias"),
    *("decoder_embedding", "decoder_head.weight", "decoder_head.bias"),
)
_INPUTS = ("item_embedding", "action_embedding", "gap_embedding", "dense_weight")


class TransferError(ValueError):
    """A model that cannot be carried over to a log."""

    exit_code: ClassVar[int] = 2


class TransferConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of the earlier model stays as it is."""

    # The items' vectors, what is between them and the heads, or all but the heads.
    freeze: Frozen = "none"
    # Rank of adapters that are learned in the place of everything else; 0: none.
    lora_rank: int = 0

    def __post_init__(self) -> None:
        check_bounds(self, {at_least(0): "lora_rank"})
        if self.lora_rank and self.freeze != "none":
            raise ConfigError(
                f"lora_rank={self.lora_rank} freezes everything but its adapters and the heads' "
                f"ones, so freeze={self.freeze} says nothing; set one of the two"
            )


def extended_spec(
    earlier: Checkpoint, spec: ModelSpec, items: Sequence[str]
) -> tuple[ModelSpec, tuple[str, ...]]:
    """The earlier model's spec and items, with what ``spec`` and ``items`` of the new log add: its
    items, actions and features stand behind the earlier ones. Everything else stays."""
    old = earlier.spec
    known = set(earlier.items)
    all_items = (*earlier.items, *(item for item in items if item not in known))
    actions = (*old.actions, *(name for name in spec.actions if name not in old.actions))
    features = (*old.features, *(name for name in spec.features if name not in old.features))
    try:
        extended = msgspec.structs.replace(
            old, item_count=len(all_items), actions=actions, features=features
        )
    except SpecError as error:
        raise TransferError(f"the log's actions do not fit beside the model's: {error}") from None
    return extended, all_items


def carried_weights(
    earlier: Checkpoint, spec: ModelSpec, items: Sequence[str], log: EventLog
) -> dict[str, Floats]:
    """Weights for an extended spec that score the earlier items as the earlier model does.

    A new item begins at the mean direction of the earlier items that stand beside it in ``log``
    (its codes are the extended ones), else where the earlier model would have read it: at its cold
    bucket. A new action begins as "other", a new feature without a say.
    """
    old, weights = earlier.spec, dict(earlier.weights)
    if tuple(items[: old.item_count]) != earlier.items:
        raise TransferError("the earlier model's items must come first in the vocabulary")
    weights["item_embedding"] = _item_table(earlier, spec, items, log)
    fresh = len(spec.actions) - len(old.actions)
    for name in (name for name in BY_ACTION if name in weights):
        other = np.repeat(weights[name][OTHER : OTHER + 1], fresh, axis=0)
        weights[name] = np.concatenate([weights[name], other])
    silent = np.zeros((len(spec.features) - len(old.features), old.hidden_width), np.float32)
    weights["dense_weight"] = np.concatenate([weights["dense_weight"], silent])
    return weights


def frozen_names(spec: ModelSpec, earlier: Checkpoint, freeze: Frozen) -> frozenset[str]:
    """The weights that a setting keeps as they are."""
    names = weight_shapes(spec, earlier.manifest.net).keys()
    heads = {name for name in names if name.startswith(_HEADS)}
    inside = names - heads - set(_INPUTS) - {"logit_scale"}
    chosen = {
        "none": set(),
        "embedding": {"item_embedding"},
        "recurrent": inside,
        "body": names - heads,
    }
    return frozenset(chosen[freeze])


def guide_from(
    earlier: Checkpoint,
    spec: ModelSpec,
    items: Sequence[str],
    log: EventLog,
    config: TransferConfig,
    content: Content | None = None,
    shape: NetShape | None = None,
) -> Guide:
    """A training on ``log`` that begins from an earlier model. With the ``content`` of the items,
    new ones that the log does not hold begin where a tower places them. Heads for tasks that
    ``shape`` has and the earlier model has not begin at their base rates."""
    weights = carried_weights(earlier, spec, items, log)
    if shape is not None:
        weights |= _task_heads(earlier, spec, log, shape)
    if content is not None:
        weights = _with_placed_items(weights, earlier, spec, log, content)
    return Guide(
        weights=weights,
        frozen=frozen_names(spec, earlier, config.freeze),
        lora_rank=config.lora_rank,
    )


def _task_heads(
    earlier: Checkpoint, spec: ModelSpec, log: EventLog, shape: NetShape
) -> dict[str, Floats]:
    """Weights of the heads of the shape's tasks: the earlier model's where it has the task."""
    if not shape.tasks:
        return {}
    weight = np.zeros((len(shape.tasks), spec.hidden_width), np.float32)
    bias = base_logits(task_targets(log, spec, shape))
    before = earlier.manifest.net
    for row, task in enumerate(shape.tasks):
        if task in before.tasks and (task != "churn" or before.churn_ms == shape.churn_ms):
            place = before.tasks.index(task)
            weight[row] = earlier.weights["task_head.weight"][place]
            bias[row] = earlier.weights["task_head.bias"][place]
    return {"task_head.weight": weight, "task_head.bias": bias}


def _with_placed_items(
    weights: dict[str, Floats],
    earlier: Checkpoint,
    spec: ModelSpec,
    log: EventLog,
    content: Content,
) -> dict[str, Floats]:
    net = build_net(spec, msgspec.structs.replace(earlier.manifest.net, tasks=()))
    net.set_weights(weights)
    vectors = tower_vectors(net, log, spec, content)
    table, count = weights["item_embedding"].copy(), earlier.spec.item_count
    new = np.setdiff1d(np.arange(count, spec.item_count), log.item)
    placed = new[vectors[new].any(axis=1)]
    vectors = vectors * table[:count].any(axis=0)  # some units read no items
    # As long as the earlier ones are: the net's input, unlike a cosine, has a length.
    table[placed] = vectors[placed] * float(np.median(np.linalg.norm(table[:count], axis=1)))
    return weights | {"item_embedding": table}


def _item_table(
    earlier: Checkpoint, spec: ModelSpec, items: Sequence[str], log: EventLog
) -> Floats:
    old, table = earlier.spec, earlier.weights["item_embedding"]
    buckets = [
        old.item_count + item_hash(item) % old.cold_buckets for item in items[old.item_count :]
    ]
    fresh = table[buckets].reshape(-1, old.hidden_width).copy()  # [new, H]
    known = table[: old.item_count]
    lengths = np.linalg.norm(known, axis=1, keepdims=True)
    sums = np.zeros_like(fresh)
    for first, second in _beside(log, spec):
        chosen = (first >= old.item_count) & (second < old.item_count)
        unit = known[second[chosen]] / np.maximum(lengths[second[chosen]], 1e-9)
        np.add.at(sums, first[chosen] - old.item_count, unit)
    found = np.linalg.norm(sums, axis=1, keepdims=True)  # [new, 1]
    # As long as the earlier ones are: the net's input, unlike a cosine, has a length.
    meant = sums / np.maximum(found, 1e-9) * float(np.median(lengths))
    fresh = np.where(found > 1e-6, meant, fresh)
    return np.concatenate([known, fresh, table[old.item_count :]]).astype(np.float32)


def _beside(
    log: EventLog, spec: ModelSpec
) -> list[tuple[np.ndarray[tuple[int], np.dtype[np.int32]], ...]]:
    """Codes of known items that follow each other in a session, both ways."""
    session = stretch_of(log.session_start, log.events)
    bearing = log.item < spec.item_count
    after = next_index(bearing, session)
    place = np.flatnonzero(bearing & (after != NONE))
    first, second = log.item[place], log.item[after[place]]
    return [(first, second), (second, first)]
