"""The item loss of a batch, as the settings choose it."""

from typing import NamedTuple

import torch
from torch import Tensor

from model.config import TrainConfig
from model.losses import cosine_softmax_loss
from model.sampled_softmax import draw_candidates, gbce_loss, inclusion, sampled_softmax_loss


class Asked(NamedTuple):
    """What M events ask of the items."""

    queries: Tensor  # [M, H]
    table: Tensor  # [V, H] rows of any length
    targets: Tensor  # [M]
    weights: Tensor | None  # [M]; None: all 1
    # [N] targets of the whole batch, where these rows are a part of it.
    batch_targets: Tensor | None = None


def is_full(config: TrainConfig, progress: float) -> bool:
    """Whether all items are looked at, at this share of the training."""
    return config.item_loss == "softmax" or progress >= 1 - config.full_share


def products_of(config: TrainConfig) -> torch.dtype:
    """The type of a full softmax's logits and of their gradients."""
    return torch.bfloat16 if config.precision == "bfloat16" else torch.float32


def item_loss(
    asked: Asked,
    popularity: Tensor,
    config: TrainConfig,
    progress: float,
    generator: torch.Generator,
) -> Tensor:
    """Sum over the M rows, in nats (gBCE: not comparable with the others).

    ``popularity`` [V] is each item's share of all targets, ``progress`` the share of the training
    that is done: its end may see the full softmax whatever came before.
    """
    if is_full(config, progress):
        return cosine_softmax_loss(*asked[:4], config.label_smoothing, products_of(config))
    queries, table, targets, weights, batch_targets = asked
    drawn_for = targets if batch_targets is None else batch_targets
    candidates = draw_candidates(drawn_for, len(table), config.negatives, generator)
    if config.item_loss == "gbce":
        return gbce_loss(queries, table, targets, candidates, config.gbce_calibration, weights)
    included = inclusion(popularity, len(drawn_for), config.negatives)
    return sampled_softmax_loss(
        queries, table, targets, candidates, included, weights, config.label_smoothing
    )
