"""The recurrent net beside the GRU."""

import torch

from model.recurrent import LstmNet
from tests.model.test_nets import random_tokens, spec_of


def test_lstm_keeps_its_cell_between_steps() -> None:
    spec = spec_of(4)
    net = LstmNet(spec, torch.Generator().manual_seed(1))
    tokens = random_tokens(spec, (2,), torch.Generator().manual_seed(2))
    with torch.no_grad():
        memory = net.step(tokens, net.initial(2))
        without_cell = torch.cat([net.hidden_of(memory), torch.zeros(2, 4)], 1)
        assert not torch.allclose(net.step(tokens, memory), net.step(tokens, without_cell))
