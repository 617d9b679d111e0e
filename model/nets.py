"""What every net shares: tied item embeddings, cosine scores, heads; and the GRU that is served.

After GRU4Rec (Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR
2016), with a softmax over cosines (NISER, Gupta et al. 2019). The weights' names, shapes and
formulas are those of ``model.checkpoint.weight_shapes``; the served graph folds the input sum into
tables, so the input must stay a plain sum.

The contract of all nets: ``forward`` over sequences and ``step`` over single events give the same
hidden states, and memory is one tensor with a row a user, so that rows can be picked whatever the
net keeps in them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.checkpoint import NORM_FLOOR
from model.dropout import Dropout
from model.spec import Floats, ModelSpec

INITIAL_LOGIT_SCALE = 16.0

NO_DROPOUT = Dropout()


class TokenBatch(NamedTuple):
    """Tokens as tensors: codes of one shape, [B] or [B, T], and ``dense`` with F more."""

    item: Tensor
    action: Tensor
    gap: Tensor
    dense: Tensor


class SequenceNet(nn.Module):
    """Embeddings, scores and heads; a subclass says how hidden states come about.

    It holds no user's memory and no dropout: both are arguments of whoever calls it.
    """

    def __init__(self, spec: ModelSpec, generator: torch.Generator | None = None) -> None:
        super().__init__()
        width = spec.hidden_width
        self.width = width
        self.item_count, self.no_item = spec.item_count, spec.no_item

        def table(rows: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, width, generator=generator) * scale)

        # Unit-length rows at start: cosines ignore the length, but the net's input does not.
        self.item_embedding = table(spec.input_count, width**-0.5)
        self.action_embedding = table(len(spec.actions), 0.1 * width**-0.5)
        self.gap_embedding = table(spec.gap_count, 0.1 * width**-0.5)
        self.dense_weight = nn.Parameter(torch.zeros(len(spec.features), width))
        # The hidden state of users who have done nothing yet.
        self.initial_hidden = nn.Parameter(torch.randn(width, generator=generator) * 0.01)
        self.action_head = nn.Linear(width, len(spec.actions))
        self.intent_head = nn.Linear(width, 2)
        self.gap_head = nn.Linear(width, spec.gap_count - 1)
        # One row for each task that the net's shape names.
        self.task_head: nn.Linear | None = None
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))
        for head in (self.action_head, self.intent_head, self.gap_head):
            fill_uniform(head, width**-0.5, generator)

    def initial(self, rows: int) -> Tensor:
        """Memory of users who have done nothing yet, [rows, M]."""
        raise NotImplementedError

    def run(
        self, inputs: Tensor, memory0: Tensor, dropout: Dropout = NO_DROPOUT
    ) -> tuple[Tensor, Tensor]:
        """Hidden states [B, T, H] of embedded sequences [B, T, H] from memory [B, M], and the
        memory [B, M] after their last column."""
        raise NotImplementedError

    def hidden_of(self, memory: Tensor) -> Tensor:
        """The hidden states [B, H] that lie in memory [B, M]."""
        raise NotImplementedError

    def embed(self, tokens: TokenBatch) -> Tensor:
        """The net's input, [..., H]: a plain sum, no bias, no non-linearity."""
        return (
            functional.embedding(tokens.item, self.item_embedding)
            + functional.embedding(tokens.action, self.action_embedding)
            + functional.embedding(tokens.gap, self.gap_embedding)
            + tokens.dense @ self.dense_weight
        )

    def forward(self, tokens: TokenBatch, memory0: Tensor) -> Tensor:
        """Hidden states [B, T, H] after each event of sequences [B, T], from memory [B, M]."""
        return self.run(self.embed(tokens), memory0)[0]

    def step(self, tokens: TokenBatch, memory: Tensor) -> Tensor:
        """Memory [B, M] after one event [B] of each user."""
        return self.run(self.embed(tokens)[:, None], memory)[1]

    def queries(self, hidden: Tensor) -> Tensor:
        """What meets the item directions, [..., H]: hidden's own direction, times the scale."""
        return functional.normalize(hidden, dim=-1, eps=NORM_FLOOR) * self.logit_scale

    def item_directions(self) -> Tensor:
        """Unit vectors of the known items, [V, H]."""
        return functional.normalize(self.item_embedding[: self.item_count], dim=-1, eps=NORM_FLOOR)

    def item_logits(self, hidden: Tensor) -> Tensor:
        """Scores of the known items, [..., V]."""
        return self.queries(hidden) @ self.item_directions().T

    def action_logits(self, hidden: Tensor) -> Tensor:
        """Logits of the next action, CLOSE included, [..., A]."""
        return self.action_head(hidden)  # type: ignore[no-any-return]

    def intent_logits(self, hidden: Tensor) -> Tensor:
        """Logits of a cart event and of a purchase later in the session, [..., 2]."""
        return self.intent_head(hidden)  # type: ignore[no-any-return]

    def gap_logits(self, hidden: Tensor) -> Tensor:
        """Logits of the next gap code, codes 1 .. G-1, [..., G-1]."""
        return self.gap_head(hidden)  # type: ignore[no-any-return]

    def add_tasks(self, count: int, generator: torch.Generator | None = None) -> None:
        """Give the net heads for so many tasks."""
        if count:
            self.task_head = nn.Linear(self.width, count)
            fill_uniform(self.task_head, self.width**-0.5, generator)

    def task_logits(self, hidden: Tensor) -> Tensor:
        """Logits of the tasks' answers, [..., tasks]."""
        if self.task_head is None:
            return hidden.new_zeros(*hidden.shape[:-1], 0)
        return self.task_head(hidden)  # type: ignore[no-any-return]

    def weights(self) -> dict[str, Floats]:
        """Copies of all weights under the names of ``weight_shapes``."""
        return {
            name.removesuffix("_l0"): np.array(parameter.detach().numpy(), dtype=np.float32)
            for name, parameter in self.named_parameters()
        }

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Take over weights under the names of ``weight_shapes``; all of them must be given."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.from_numpy(np.array(weights[name.removesuffix("_l0")])))


class GruNet(SequenceNet):
    """One GRU layer. Its memory is its hidden state."""

    def __init__(self, spec: ModelSpec, generator: torch.Generator | None = None) -> None:
        super().__init__(spec, generator)
        self.gru = nn.GRU(self.width, self.width, batch_first=True)
        fill_uniform(self.gru, self.width**-0.5, generator)

    def initial(self, rows: int) -> Tensor:
        return self.initial_hidden.expand(rows, -1)

    def hidden_of(self, memory: Tensor) -> Tensor:
        return memory

    def run(
        self, inputs: Tensor, memory0: Tensor, dropout: Dropout = NO_DROPOUT
    ) -> tuple[Tensor, Tensor]:
        hidden, _ = self.gru(inputs, memory0[None].contiguous())  # [B, T, H]
        return hidden, hidden[:, -1]

    def step(self, tokens: TokenBatch, memory: Tensor) -> Tensor:
        ((weight_ih, weight_hh, bias_ih, bias_hh),) = self.gru.all_weights
        from_input = functional.linear(self.embed(tokens), weight_ih, bias_ih)  # [B, 3H]
        from_memory = functional.linear(memory, weight_hh, bias_hh)  # [B, 3H]
        reset_in, update_in, new_in = from_input.chunk(3, dim=-1)
        reset_mem, update_mem, new_mem = from_memory.chunk(3, dim=-1)
        reset = torch.sigmoid(reset_in + reset_mem)  # [B, H]
        update = torch.sigmoid(update_in + update_mem)  # [B, H]
        new = torch.tanh(new_in + reset * new_mem)  # [B, H]
        return (1 - update) * new + update * memory  # [B, H]


def fill_uniform(part: nn.Module, bound: float, generator: torch.Generator | None) -> None:
    """Draw all parameters of a part anew, uniformly in [-bound, bound]."""
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
