"""Adapters on a net."""

import numpy as np
import pytest
import torch

from model.architectures import build_net
from model.lora import LoraError, adapted, merged
from model.net_shape import NetName, NetShape
from tests.model.logs import spec_of

SPEC = spec_of()


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_adapters_alone_learn_and_merge_into_the_net(name: NetName) -> None:
    net = build_net(SPEC, NetShape(name=name, layers=1), torch.Generator().manual_seed(1))
    before = net.weights()
    inputs = torch.randn(3, 5, SPEC.hidden_width, generator=torch.Generator().manual_seed(2))
    wanted = net.run(inputs, net.initial(3))[0]
    adapted(net, 2, seed=1)
    torch.testing.assert_close(net.run(inputs, net.initial(3))[0], wanted)
    learning = [p for p in net.parameters() if p.requires_grad]
    assert sum(p.numel() for p in learning) < sum(weight.size for weight in before.values())
    with torch.no_grad():
        for parameter in learning:
            parameter.add_(0.1)
    moved = net.run(inputs, net.initial(3))[0]
    whole = merged(net)
    assert whole.weights().keys() == before.keys()
    assert np.array_equal(whole.weights()["item_embedding"], before["item_embedding"])
    torch.testing.assert_close(whole.run(inputs, whole.initial(3))[0], moved)
    assert not torch.allclose(moved, wanted)


def test_a_net_without_matrices_to_adapt_is_told() -> None:
    net = build_net(SPEC, NetShape(name="lstm"), torch.Generator().manual_seed(1))
    with pytest.raises(LoraError, match="not for LstmNet"):
        adapted(net, 2, seed=1)
