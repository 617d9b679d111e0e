"""An encoder-decoder for a user's next k actions: the GRU reads, a second one writes.

After Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
translation" (EMNLP 2014): the hidden state is the decoder's start and an input of its every step.
The encoder is the GRU as it is served, so all that is asked of a net can be asked of this one.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.data import NONE
from model.losses import class_loss
from model.net_shape import NetShape
from model.nets import GruNet, fill_uniform
from model.spec import CLOSE, ModelSpec


class Foretold(NamedTuple):
    """The next k actions of M users, CLOSE from the session's end on."""

    actions: Tensor  # [M, k] the likeliest sequence that was found
    log_share: Tensor  # [M] its log-probability
    shares: Tensor  # [M, k, A] of each step's actions among all sequences that were kept


class EncoderDecoderNet(GruNet):
    """A GRU with a decoder on its hidden state."""

    def __init__(
        self,
        spec: ModelSpec,
        generator: torch.Generator | None = None,
        shape: NetShape = NetShape(name="encoder_decoder"),  # noqa: B008
    ) -> None:
        super().__init__(spec, generator)
        self.horizon, actions = shape.horizon, len(spec.actions)
        # Row CLOSE, after which nothing is written, stands for the beginning.
        scale = self.width**-0.5
        self.decoder_embedding = nn.Parameter(
            torch.randn(actions, self.width, generator=generator) * scale
        )
        self.decoder_start = nn.Linear(self.width, self.width)
        self.decoder_context = nn.Linear(self.width, self.width, bias=False)
        self.decoder = nn.GRU(self.width, self.width, batch_first=True)
        self.decoder_head = nn.Linear(self.width, actions)
        for part in (self.decoder_start, self.decoder_context, self.decoder, self.decoder_head):
            fill_uniform(part, scale, generator)

    def decoder_loss(
        self, hidden: Tensor, following: Tensor, batch_following: Tensor | None = None
    ) -> Tensor:
        """Mean cross-entropy of the actions ``following`` [M, k] hidden states [M, H], each step
        told the true actions before it; NONE asks nothing. Of a part of a batch the sum is divided
        by the number of ``batch_following`` [N, k]."""
        before = functional.pad(following[:, :-1].clamp(min=CLOSE), (1, 0), value=CLOSE)  # [M, k]
        logits, _ = self._written(before, hidden, self._start(hidden))  # [M, k, A]
        batch = None if batch_following is None else batch_following.flatten()
        return class_loss(logits.flatten(0, 1), following.flatten(), batch)

    @torch.no_grad()
    def foretell(self, hidden: Tensor, beams: int = 8) -> Foretold:
        """The next actions after hidden states [M, H] by a beam search; one beam is greedy."""
        rows, actions = len(hidden), len(self.decoder_embedding)
        state = self._start(hidden)  # [M, H]
        context = hidden
        said = torch.full((rows, 1, 1), CLOSE)  # [M, b, 1 + steps]
        totals = torch.zeros(rows, 1)  # [M, b]
        for step in range(self.horizon):
            width = said.shape[1]
            logits, state = self._written(
                said[:, :, -1].reshape(-1, 1), context.reshape(-1, self.width), state
            )
            logs = torch.log_softmax(logits[:, 0], 1).view(rows, width, actions)
            if step:
                over = said[:, :, -1:] == CLOSE  # [M, b, 1]
                stay = torch.full((actions,), -torch.inf)
                stay[CLOSE] = 0.0
                logs = torch.where(over, stay, logs)
            scores = (totals[:, :, None] + logs).flatten(1)  # [M, b * A]
            totals, chosen = scores.topk(min(beams, scores.shape[1]), dim=1)
            parent, action = chosen // actions, chosen % actions  # [M, b]
            said = torch.cat(
                [said.gather(1, parent[:, :, None].expand(-1, -1, step + 1)), action[:, :, None]], 2
            )
            kept = parent[:, :, None].expand(-1, -1, self.width)
            state = state.view(rows, width, -1).gather(1, kept).reshape(-1, self.width)
            context = hidden[:, None].expand(-1, said.shape[1], -1)
        said = said[:, :, 1:]  # [M, b, k]
        shares = functional.one_hot(said, actions) * totals.softmax(1)[:, :, None, None]
        return Foretold(said[:, 0], totals[:, 0], shares.sum(1))

    def _start(self, hidden: Tensor) -> Tensor:
        return torch.tanh(self.decoder_start(hidden))

    def _written(self, before: Tensor, hidden: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [M, T, A] after the actions ``before`` [M, T], and the decoder's state [M, H]."""
        told = functional.embedding(before, self.decoder_embedding)  # [M, T, H]
        inputs = told + self.decoder_context(hidden)[:, None]
        written, last = self.decoder(inputs, state[None].contiguous())  # [M, T, H], [1, M, H]
        return self.decoder_head(written), last[0]


def following_actions(action: Tensor, events: Tensor, horizon: int) -> Tensor:
    """The next ``horizon`` actions after events [M] of their sessions, CLOSE after the last one and
    NONE behind that. [M, horizon]

    ``action`` [N] is the next action after each event of a log.
    """
    found = torch.full((len(events), horizon), NONE)
    alive = torch.ones(len(events), dtype=torch.bool)
    for step in range(horizon):
        # Events of a session lie side by side.
        place = (events + step).clamp(max=len(action) - 1)
        found[:, step] = torch.where(alive, action[place].long(), NONE)
        alive = alive & (found[:, step] > CLOSE)
    return found
