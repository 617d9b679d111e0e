"""Recurrent nets besides the GRU: an LSTM, and a linear recurrence that can be read in parallel."""

import torch
from torch import Tensor, nn

from model.dropout import Dropout
from model.nets import NO_DROPOUT, SequenceNet, fill_uniform
from model.spec import ModelSpec


class LstmNet(SequenceNet):
    """One LSTM layer. Its memory is ``[hidden, cell]``, and starts with an empty cell."""

    def __init__(self, spec: ModelSpec, generator: torch.Generator | None = None) -> None:
        super().__init__(spec, generator)
        self.lstm = nn.LSTM(self.width, self.width, batch_first=True)
        fill_uniform(self.lstm, self.width**-0.5, generator)

    def initial(self, rows: int) -> Tensor:
        cell = torch.zeros_like(self.initial_hidden)
        return torch.cat([self.initial_hidden, cell]).expand(rows, -1)

    def hidden_of(self, memory: Tensor) -> Tensor:
        return memory[:, : self.width]

    def run(
        self, inputs: Tensor, memory0: Tensor, dropout: Dropout = NO_DROPOUT
    ) -> tuple[Tensor, Tensor]:
        before = tuple(part.contiguous() for part in memory0[None].chunk(2, -1))
        hidden, (last, cell) = self.lstm(inputs, before)  # [B, T, H], [1, B, H] each
        return hidden, torch.cat([last[0], cell[0]], -1)


class MinGruNet(SequenceNet):
    """A minGRU (Feng et al., "Were RNNs all we needed?", 2024): gates read the input alone, so the
    state ``s = (1 - z) * s_before + z * candidate`` is a linear recurrence.

    The hidden state is the input and the gated state together, since a linear state alone knows
    the last item no better than the older ones. Memory is ``[hidden, state]``.
    """

    def __init__(self, spec: ModelSpec, generator: torch.Generator | None = None) -> None:
        super().__init__(spec, generator)
        self.to_state = nn.Linear(self.width, 2 * self.width)  # update gate, candidate
        self.opening = nn.Linear(self.width, self.width, bias=False)
        self.from_state = nn.Linear(self.width, self.width, bias=False)
        for part in (self.to_state, self.opening, self.from_state):
            fill_uniform(part, self.width**-0.5, generator)

    def initial(self, rows: int) -> Tensor:
        state = torch.zeros_like(self.initial_hidden)
        return torch.cat([self.initial_hidden, state]).expand(rows, -1)

    def hidden_of(self, memory: Tensor) -> Tensor:
        return memory[:, : self.width]

    def run(
        self, inputs: Tensor, memory0: Tensor, dropout: Dropout = NO_DROPOUT
    ) -> tuple[Tensor, Tensor]:
        inputs = inputs * self.width**0.5  # [B, T, H], numbers of about 1
        gate, candidate = self.to_state(inputs).chunk(2, -1)  # [B, T, H]
        update = torch.sigmoid(gate)
        state = linear_scan(1 - update, update * torch.tanh(candidate), memory0[:, self.width :])
        opened = torch.nn.functional.silu(self.opening(inputs)) * state
        hidden = inputs + self.from_state(dropout.stream(0)(opened))  # [B, T, H]
        return hidden, torch.cat([hidden[:, -1], state[:, -1]], -1)


def linear_scan(keep: Tensor, add: Tensor, state0: Tensor) -> Tensor:
    """``s[t] = keep[t] * s[t-1] + add[t]`` for all t at once, in log2(T) passes (Hillis & Steele
    1986). keep, add [B, T, H], state0 [B, H]; returns [B, T, H]."""
    length, reach = add.shape[1], 1
    while reach < length:
        earlier_add, earlier_keep = add[:, :-reach], keep[:, :-reach]
        late = add[:, reach:] + keep[:, reach:] * earlier_add  # [B, T - reach, H]
        add = torch.cat([add[:, :reach], late], 1)
        keep = torch.cat([keep[:, :reach], keep[:, reach:] * earlier_keep], 1)
        reach *= 2
    return add + keep * state0[:, None]
