"""The recurrent net besides the GRU: an LSTM."""

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
