"""What pruning takes away."""

import msgspec
import numpy as np
import pytest
import torch

from model.behaviour_units import chosen_units, found_units, kept_entries
from model.checkpoint import Checkpoint, Manifest
from model.config import TrainConfig
from model.lessons import asked_of
from model.net_shape import weight_shapes
from model.nets import GruNet
from model.prune import PRUNED, kept_units, magnitude_masks, narrowed
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of(items=9, width=64)
LOG = learnable_log(SPEC, users=20)
NET = GruNet(SPEC, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_smallest_weights_go(share: float) -> None:
    weights = NET.weights()
    for name, mask in magnitude_masks(weights, share).items():
        assert name in PRUNED
        assert mask.mean() == pytest.approx(1 - share, abs=0.01)
        assert np.abs(weights[name][mask]).min() >= np.abs(weights[name][~mask]).max()


def test_units_that_say_nothing_go_first_and_the_rest_computes_the_same() -> None:
    net = GruNet(SPEC, torch.Generator().manual_seed(1))
    silent = np.arange(3, 64, 4)
    with torch.no_grad():
        net.item_embedding[:, silent] = 0.0
        for table in (net.action_embedding, net.gap_embedding):
            table[:, silent] = 0.0
        net.gru.weight_hh_l0[:, silent] = 0.0
        net.gru.weight_ih_l0[:, silent] = 0.0
        net.action_head.weight[:, silent] = 0.0
    units = kept_units(net, LOG, SPEC, asked_of(LOG, SPEC), 0.25)
    assert np.array_equal(units, np.setdiff1d(np.arange(64), silent))
    saved = Checkpoint(Manifest(spec=SPEC, fingerprint="00"), tuple("abcdefghi"), net.weights())
    spec, weights = narrowed(saved, units)
    assert spec == msgspec.structs.replace(SPEC, hidden_width=48)
    assert {name: weight.shape for name, weight in weights.items()} == weight_shapes(spec)
    small = GruNet(spec)
    small.set_weights(weights)
    inputs = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(2))
    inputs[:, :, silent] = 0.0
    whole = net.run(inputs, net.initial(2))[0]
    part = small.run(inputs[:, :, units], small.initial(2))[0]
    torch.testing.assert_close(part, whole[:, :, units])
    torch.testing.assert_close(small.action_logits(part), net.action_logits(whole))


def test_of_the_units_that_read_no_items_the_same_share_goes() -> None:
    net = GruNet(SPEC, torch.Generator().manual_seed(1))
    apart = chosen_units(SPEC, TrainConfig(behaviour_units=16))
    weights = net.weights()
    weights |= {
        name: (weights[name] * kept).astype(np.float32)
        for name, kept in kept_entries(apart).items()
    }
    net.set_weights(weights)
    units = kept_units(net, LOG, SPEC, asked_of(LOG, SPEC), 0.5)
    assert (units >= 48).sum() == 8
    saved = Checkpoint(Manifest(spec=SPEC, fingerprint="00"), tuple("abcdefghi"), weights)
    assert np.flatnonzero(found_units(narrowed(saved, units)[1])).tolist() == list(range(24, 32))
