"""Which weights of a GRU can go: the smallest entries of its matrices, or whole hidden units."""

from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from model.behaviour_units import found_units
from model.checkpoint import Checkpoint
from model.log import EventLog, Longs
from model.nets import SequenceNet
from model.questions import Questions
from model.scoring import hidden_states
from model.spec import Floats, ModelSpec

# What a GRU does between look-up and scan; item vectors are not pruned entry by entry.
PRUNED = ("gru.weight_ih", "gru.weight_hh")
# Rows that are no multiple of it are summed at twice the time.
WIDTH_STEP = 16
_ASKED = 4_000


def magnitude_masks(
    weights: Mapping[str, Floats], share: float
) -> dict[str, npt.NDArray[np.bool_]]:
    """Which entries stay when the ``share`` smallest of each recurrent matrix go (Han et al.,
    "Learning both weights and connections", NeurIPS 2015)."""
    masks = {}
    for name in PRUNED:
        size = np.abs(weights[name])
        masks[name] = size > np.quantile(size, share)
    return masks


def kept_units(
    net: SequenceNet, log: EventLog, spec: ModelSpec, questions: Questions, share: float
) -> Longs:
    """The hidden units that stay, ascending, when about ``share`` of them go.

    A unit matters as much as it moves the scores: by its mean energy in the hidden states, times
    that in the items' directions; one that reads no items, in the heads' weights. Of both kinds the
    same share goes. At least one step of ``WIDTH_STEP`` units (all of a narrower net) and a whole
    number of steps stays.
    """
    width = spec.hidden_width
    left = round(width * (1 - share) / WIDTH_STEP) * WIDTH_STEP
    left = min(width, max(left, WIDTH_STEP)) if width > WIDTH_STEP else round(width * (1 - share))
    after = questions.after[questions.after >= 0][:_ASKED]
    energy = torch.zeros(width)
    with torch.no_grad():
        for _, hidden in hidden_states(net, log, spec, after):
            unit = torch.nn.functional.normalize(hidden, dim=1)  # [n, H]
            energy += unit.square().sum(0)
        heads = torch.cat([net.action_head.weight, net.gap_head.weight])
        behaviour = torch.from_numpy(found_units(net.weights()))  # [H]
        said = torch.where(
            behaviour, heads.square().mean(0), net.item_directions().square().mean(0)
        )
        energy *= said
    order = _in_turn(energy.numpy(), behaviour.numpy())
    units: Longs = np.sort(order[: max(1, left)])
    return units


def _in_turn(energy: Floats, kind: npt.NDArray[np.bool_]) -> Longs:
    """Units by falling energy [H], so that any first part holds about the same share of both
    kinds."""
    place = np.empty(len(energy))
    for part in (kind, ~kind):
        rank = np.argsort(np.argsort(-energy[part], kind="stable"))
        place[part] = (rank + 0.5) / max(1, len(rank))
    return np.argsort(place, kind="stable")


def narrowed(saved: Checkpoint, units: Longs) -> tuple[ModelSpec, dict[str, Floats]]:
    """Spec and weights of the GRU that has the hidden ``units`` [h] alone."""
    width = saved.spec.hidden_width
    gates = np.concatenate([units + gate * width for gate in range(3)])  # [3h]
    weights = {}
    for name, weight in saved.weights.items():
        if name.startswith("gru."):
            part = weight[gates]
            weights[name] = part[:, units] if part.ndim == 2 else part
        elif weight.ndim == 2:
            weights[name] = weight[:, units]
        elif name == "initial_hidden":
            weights[name] = weight[units]
        else:
            weights[name] = weight
    return msgspec.structs.replace(saved.spec, hidden_width=len(units)), weights
