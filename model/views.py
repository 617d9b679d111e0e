"""The contrastive term: two changed views of a sequence should end in like hidden states (CL4SRec,
Xie et al., ICDE 2022)."""

from typing import NamedTuple

import torch
from torch import Tensor

from model.augment import contrastive_loss, cropped, reordered, with_masked_items
from model.config import TrainConfig
from model.nets import SequenceNet, TokenBatch
from model.spec import ModelSpec


class Views(NamedTuple):
    """Makes two views of each of a batch's sequences and compares where they end."""

    net: SequenceNet
    spec: ModelSpec
    config: TrainConfig
    generator: torch.Generator

    def loss(self, tokens: TokenBatch, lengths: Tensor) -> Tensor:
        """Of sequences [B, T] with their ``lengths`` [B]; 0 for a single sequence."""
        if len(lengths) < 2:
            return self.net.logit_scale * 0.0
        one, other = (self._ends(tokens, lengths) for _ in range(2))
        return contrastive_loss(one, other, self.config.contrastive_temperature)

    def _ends(self, tokens: TokenBatch, lengths: Tensor) -> Tensor:
        """Hidden states [B, H] at the ends of one view of each sequence."""
        share, generator = self.config.view_share, self.generator
        way = int(torch.randint(3, (), generator=generator))
        items = tokens.item
        if way == 0:
            items, lengths = cropped(items, lengths, share, generator)
        elif way == 1:
            items = with_masked_items(items, self.spec, 1 - share, generator)
        else:
            items = reordered(items, lengths, share, generator)
        inputs = self.net.embed(tokens._replace(item=items))
        hidden, _ = self.net.run(inputs, self.net.initial(len(items)))  # [B, T, H]
        return hidden[torch.arange(len(items)), lengths - 1]  # [B, H]
