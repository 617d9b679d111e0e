"""Hidden units of a GRU that read what users do and when, and no items.

Where a log has few events to an item, a net that reads items learns its training sessions by heart,
and foretells the next action worse than one without. So a part of the units is a GRU of its own,
which the heads of next actions and gaps read, and the others are the items'; intents and tasks may
depend on the item, and read both. The division is zeros in the weights, and any graph of a GRU
serves it.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.config import TrainConfig
from model.spec import Floats, ModelSpec

Mask = npt.NDArray[np.bool_]

_GATES = 3
_HEADS = ("action_head", "gap_head")


def chosen_units(spec: ModelSpec, config: TrainConfig) -> Mask:
    """Which hidden units [H] of a new net are to read no items: the last ones, never all."""
    count = config.behaviour_units if config.net == "gru" else 0
    return np.arange(spec.hidden_width) >= spec.hidden_width - min(count, spec.hidden_width - 1)


def found_units(weights: Mapping[str, Floats]) -> Mask:
    """Which hidden units [H] read no items in these weights; none where they are not apart."""
    units: Mask = np.abs(weights["item_embedding"]).max(axis=0) == 0
    if "gru.weight_hh" not in weights:
        return np.zeros_like(units)
    is_apart = all(not np.any(weights[name] * ~kept) for name, kept in kept_entries(units).items())
    return units if is_apart else np.zeros_like(units)


def kept_entries(units: Mask) -> dict[str, Mask]:
    """Entries that may be other than zero where the ``units`` [H] are apart, by weight; of the
    item table and of heads one row for all [1, H]."""
    same = np.tile(units[:, None] == units, (_GATES, 1))  # [3H, H]
    heads = {f"{name}.weight": units[None] for name in _HEADS}
    return {"item_embedding": ~units[None], "gru.weight_ih": same, "gru.weight_hh": same, **heads}


def held(hidden: Tensor, units: Tensor | None) -> Tensor:
    """Hidden states [M, H] whose ``units`` [H] a loss does not move."""
    return hidden if units is None else torch.where(units, hidden.detach(), hidden)  # [M, H]
