"""Masked items are restored from both sides, and never from themselves."""

import msgspec
import numpy as np
import pytest
import torch

from model.architectures import build_net
from model.config import ConfigError, TrainConfig
from model.data import padded_places, segments_of, targets_of
from model.fit import Fitting
from model.masked import masked_loss
from model.objective import BatchLoss, columns_of, tokens_at
from model.transformer import TransformerNet
from tests.model.logs import learnable_log, log_of, spec_of

SPEC = spec_of(items=12, width=16)
LOG = learnable_log(SPEC, users=80)
CONFIG = TrainConfig(
    net="transformer", epochs=6, pretrain_epochs=5, batch_sequences=16, learning_rate=1e-2
)


def net_of(seed: int = 1) -> TransformerNet:
    net = build_net(SPEC, CONFIG.net_shape, torch.Generator().manual_seed(seed))
    assert isinstance(net, TransformerNet)
    return net


def test_events_look_both_ways_and_never_at_padding() -> None:
    net = net_of()
    log = log_of([[[(1, 2), (2, 2), (3, 2)]], [[(4, 2)]]], SPEC)
    segments = segments_of(log, SPEC, 10)
    places, real = padded_places(segments.start, segments.lengths)
    columns = columns_of(log, SPEC, targets_of(log, SPEC), CONFIG)
    tokens = tokens_at(columns, torch.from_numpy(places))
    with torch.no_grad():
        whole = net.both_ways(net.embed(tokens), torch.from_numpy(real))
        for column in (1, 2):
            item = tokens.item.clone()
            item[:, column] = 5
            other = net.both_ways(net.embed(tokens._replace(item=item)), torch.from_numpy(real))
            assert not torch.allclose(other[0, 0], whole[0, 0])
            torch.testing.assert_close(other[1, 0], whole[1, 0])


def loss_of(net: TransformerNet, share: float) -> BatchLoss:
    config = msgspec.structs.replace(CONFIG, pretrain_mask_share=share)
    columns = columns_of(LOG, SPEC, targets_of(LOG, SPEC), config)
    segments = segments_of(LOG, SPEC, 200)
    every = np.arange(len(segments.start))
    return masked_loss(net, columns, segments, every, config, torch.Generator().manual_seed(3))


def test_the_share_of_known_items_is_asked_and_gradients_flow() -> None:
    net = net_of()
    loss = loss_of(net, 0.3)
    assert loss.item_count == pytest.approx(0.3 * LOG.events, rel=0.2)
    torch.autograd.backward(loss.total)
    assert all(p.grad is not None for name, p in net.named_parameters() if "blocks" in name)


def test_nothing_masked_costs_nothing() -> None:
    loss = loss_of(net_of(), 1e-9)
    assert (loss.item_count, loss.total.item()) == (0, 0.0)


def test_pre_training_learns_and_leaves_its_weights_to_the_causal_net() -> None:
    fitting = Fitting(LOG, SPEC, CONFIG, CONFIG.epochs)
    before = loss_of(net_of(), 0.2).item_sum / loss_of(net_of(), 0.2).item_count
    for epoch in range(CONFIG.pretrain_epochs):
        batches = fitting.batches(epoch)
        for number, batch in enumerate(batches):
            fitting.step(epoch, number, len(batches), batch)
    assert isinstance(fitting.net, TransformerNet)
    after = loss_of(fitting.net, 0.2)
    assert after.item_sum / after.item_count < before / 2
    batches = fitting.batches(CONFIG.pretrain_epochs)
    causal = fitting.step(CONFIG.pretrain_epochs, 0, len(batches), batches[0])
    fresh = Fitting(LOG, SPEC, CONFIG, CONFIG.epochs)
    untrained = fresh.step(CONFIG.pretrain_epochs, 0, len(batches), batches[0])
    assert causal.item_sum < untrained.item_sum


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"net": "gru"}, "a Transformer's, the net is 'gru'"),
        ({"pretrain_epochs": 6}, "must leave at least one"),
        ({"pretrain_mask_share": 0.0}, "above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        msgspec.structs.replace(CONFIG, **changes)
