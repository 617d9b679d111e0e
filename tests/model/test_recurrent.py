"""The recurrent nets beside the GRU against the plain formulas."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.recurrent import LstmNet, MinGruNet, linear_scan
from tests.model.test_nets import random_tokens, spec_of


@settings(deadline=None)
@given(rows=st.integers(1, 3), length=st.integers(1, 17), seed=st.integers(0, 99))
def test_the_scan_is_the_recurrence(rows: int, length: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    keep = torch.rand(rows, length, 2, generator=generator)
    add = torch.randn(rows, length, 2, generator=generator)
    state = state0 = torch.randn(rows, 2, generator=generator)
    found = linear_scan(keep, add, state0)
    for t in range(length):
        state = keep[:, t] * state + add[:, t]
        torch.testing.assert_close(found[:, t], state, atol=1e-5, rtol=1e-5)


def test_minigru_by_hand() -> None:
    spec = spec_of(4)
    net = MinGruNet(spec, torch.Generator().manual_seed(1))
    tokens = random_tokens(spec, (2,), torch.Generator().manual_seed(2))
    with torch.no_grad():
        memory = net.step(tokens, net.initial(2))
        inputs = net.embed(tokens) * 2
        gate, candidate = net.to_state(inputs).chunk(2, -1)
        state = torch.sigmoid(gate) * torch.tanh(candidate)  # of an empty state before
        hidden = inputs + net.from_state(torch.nn.functional.silu(net.opening(inputs)) * state)
    torch.testing.assert_close(memory, torch.cat([hidden, state], 1))


def test_lstm_keeps_its_cell_between_steps() -> None:
    spec = spec_of(4)
    net = LstmNet(spec, torch.Generator().manual_seed(1))
    tokens = random_tokens(spec, (2,), torch.Generator().manual_seed(2))
    with torch.no_grad():
        memory = net.step(tokens, net.initial(2))
        without_cell = torch.cat([net.hidden_of(memory), torch.zeros(2, 4)], 1)
        assert not torch.allclose(net.step(tokens, memory), net.step(tokens, without_cell))
