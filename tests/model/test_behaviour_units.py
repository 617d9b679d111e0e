"""A part of the hidden units reads no items, and all that a net says of actions comes from it."""

import msgspec
import numpy as np
import pytest
import torch

from model.behaviour_units import chosen_units, found_units, held, kept_entries
from model.config import ConfigError, TrainConfig
from model.fit import Fitting
from model.guide import NO_GUIDE, Guide
from model.nets import TokenBatch
from model.spec import Floats
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of(items=12, width=8)
LOG = learnable_log(SPEC, users=20)
CONFIG = TrainConfig(batch_sequences=8, learning_rate=1e-2, behaviour_units=3, averaging=0.9)
UNITS = np.arange(8) >= 5


def trained(config: TrainConfig = CONFIG, guide: Guide = NO_GUIDE) -> Fitting:
    fitting = Fitting(LOG, SPEC, config, 1, guide)
    batches = fitting.batches(0)
    for number, batch in enumerate(batches):
        fitting.step(0, number, len(batches), batch)
    return fitting


def test_a_new_net_has_them_last_and_as_many_as_asked_for() -> None:
    assert chosen_units(SPEC, CONFIG).tolist() == UNITS.tolist()
    assert not chosen_units(SPEC, msgspec.structs.replace(CONFIG, net="lstm")).any()
    # An item needs a direction.
    assert chosen_units(SPEC, msgspec.structs.replace(CONFIG, behaviour_units=99)).sum() == 7
    with pytest.raises(ConfigError, match="behaviour_units"):
        TrainConfig(behaviour_units=-1)


def test_items_do_not_reach_them() -> None:
    net = trained().measured()
    rng = torch.Generator().manual_seed(0)

    def tokens() -> TokenBatch:
        item = torch.randint(SPEC.input_count, (4, 6), generator=rng)
        return TokenBatch(
            item, torch.full((4, 6), 3), torch.ones(4, 6).long(), torch.zeros(4, 6, 0)
        )

    with torch.no_grad():
        one, other = (net(tokens(), net.initial(4)) for _ in range(2))
    assert torch.equal(one[..., UNITS], other[..., UNITS])
    assert torch.equal(net.action_logits(one), net.action_logits(other))
    assert not torch.equal(one[..., ~UNITS], other[..., ~UNITS])


def test_weights_show_which_they_are_also_when_a_training_goes_on() -> None:
    weights = trained().measured().weights()
    assert found_units(weights).tolist() == UNITS.tolist()
    # Wherever they are, and whatever is asked for of new nets.
    order = np.random.default_rng(0).permutation(8)
    moved = reordered(weights, order)
    further = trained(msgspec.structs.replace(CONFIG, behaviour_units=0), Guide(weights=moved))
    assert found_units(further.measured().weights()).tolist() == UNITS[order].tolist()
    plain = trained(msgspec.structs.replace(CONFIG, behaviour_units=0)).measured().weights()
    assert not found_units(plain).any()
    assert trained(guide=Guide(weights=plain)).units is None


def reordered(weights: dict[str, Floats], order: np.ndarray) -> dict[str, Floats]:
    """The same net with its hidden units in another order."""
    gates = np.concatenate([order + gate * SPEC.hidden_width for gate in range(3)])
    moved = {}
    for name, weight in weights.items():
        moved[name] = weight[gates] if name.startswith("gru.") else weight
        if weight.ndim == 2 and weight.shape[1] == SPEC.hidden_width:
            moved[name] = moved[name][:, order]
        elif name == "initial_hidden":
            moved[name] = weight[order]
    return moved


def test_zeros_elsewhere_are_no_such_units() -> None:
    weights = trained().measured().weights()
    assert kept_entries(UNITS).keys() <= weights.keys()
    weights["gru.weight_hh"][-1, 0] = 1
    assert not found_units(weights).any()
    assert not found_units({"item_embedding": weights["item_embedding"]}).any()


def test_losses_leave_them_alone_where_they_are_held() -> None:
    hidden = torch.ones(2, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(held(hidden, torch.from_numpy(UNITS)).sum(), hidden)
    assert (slope == 0).all(0).tolist() == UNITS.tolist()
    assert held(hidden, None) is hidden


def test_the_item_loss_moves_the_others_alone() -> None:
    config = msgspec.structs.replace(CONFIG, head_weight=0.0, weight_decay=0.0)
    before, after = Fitting(LOG, SPEC, config, 1).net.weights(), trained(config).net.weights()
    moved = (before["gru.weight_hh"] != after["gru.weight_hh"]).reshape(3, 8, 8).any(axis=(0, 2))
    assert moved.tolist() == (~UNITS).tolist()
