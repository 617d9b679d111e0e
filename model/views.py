"""The contrastive term: two changed views of a sequence should end in like hidden states (CL4SRec,
Xie et al., ICDE 2022)."""

from typing import NamedTuple

import torch
from torch import Tensor

from model.augment import contrastive_loss, cropped, reordered, with_masked_items
from model.config import TrainConfig
from model.nets import SequenceNet, TokenBatch
from model.share import WHOLE, Share
from model.spec import ModelSpec


class Views(NamedTuple):
    """Makes two views of each of a batch's sequences and compares where they end."""

    net: SequenceNet
    spec: ModelSpec
    config: TrainConfig
    generator: torch.Generator
    share: Share = WHOLE

    def loss(self, tokens: TokenBatch, lengths: Tensor) -> Tensor:
        """Of sequences [B, T] with their ``lengths`` [B]; 0 for a single sequence. Of a share,
        gradients are those of its own rows."""
        if len(lengths) < 2:
            return self.net.logit_scale * 0.0
        one, other = (self._ends(tokens, lengths) for _ in range(2))
        if self.share.splits(len(lengths)):
            mine = self.share.of(len(lengths))
            one, other = (self._beside_the_others(ends, mine) for ends in (one, other))
        return contrastive_loss(one, other, self.config.contrastive_temperature)

    def _beside_the_others(self, ends: Tensor, mine: slice) -> Tensor:
        """The ends [b, H] of one's own rows among those of all processes, [B, H]."""
        all_ends = self.share.gathered(ends.detach())
        return torch.cat([all_ends[: mine.start], ends, all_ends[mine.stop :]])

    def _ends(self, tokens: TokenBatch, lengths: Tensor) -> Tensor:
        """Hidden states [b, H] at the ends of one view of each sequence of the share."""
        share, generator = self.config.view_share, self.generator
        way = int(torch.randint(3, (), generator=generator))
        items = tokens.item
        if way == 0:
            items, lengths = cropped(items, lengths, share, generator)
        elif way == 1:
            items = with_masked_items(items, self.spec, 1 - share, generator)
        else:
            items = reordered(items, lengths, share, generator)
        mine = self.share.of(len(items))
        tokens = TokenBatch(*(column[mine] for column in tokens._replace(item=items)))
        lengths = lengths[mine]
        hidden, _ = self.net.run(self.net.embed(tokens), self.net.initial(len(lengths)))
        return hidden[torch.arange(len(lengths)), lengths - 1]  # [b, H]
