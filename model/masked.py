"""Masked pre-training: a Transformer that looks both ways restores items that it is not shown.

After BERT4Rec (Sun et al., CIKM 2019). The weights are those of the causal Transformer, which goes
on from them: what stands beside what is learned from both sides, what comes next afterwards.
"""

import torch

from model.config import TrainConfig
from model.data import Segments, padded_places
from model.dropout import Dropout, drop
from model.item_loss import Asked, item_loss
from model.log import Longs
from model.objective import BatchLoss, Columns, tokens_at
from model.transformer import TransformerNet


def masked_loss(
    net: TransformerNet,
    columns: Columns,
    segments: Segments,
    batch: Longs,
    config: TrainConfig,
    generator: torch.Generator,
    progress: float = 0.0,
) -> BatchLoss:
    """Loss of the segments ``batch`` [B]: mean over the known items that are masked, a share
    ``config.pretrain_mask_share`` of them."""
    places, real = padded_places(segments.start[batch], segments.lengths[batch])  # [B, T]
    tokens = tokens_at(columns, torch.from_numpy(places))
    known = torch.from_numpy(real) & (tokens.item < net.item_count)
    masked = known & (torch.rand(known.shape, generator=generator) < config.pretrain_mask_share)
    shown = tokens._replace(item=tokens.item.masked_fill(masked, net.no_item))
    inputs = drop(net.embed(shown), config.input_dropout, generator)
    seed = int(torch.randint(1 << 31, (), generator=generator))
    dropout = Dropout(config.block_dropout, seed)
    hidden = net.both_ways(inputs, torch.from_numpy(real), dropout)  # [B, T, H]
    rows = drop(hidden[masked], config.hidden_dropout, generator)  # [M, H]
    asked = Asked(
        queries=net.queries(rows),
        table=net.item_embedding[: net.item_count],
        targets=tokens.item[masked].long(),
        weights=None,
    )
    item_sum = item_loss(asked, columns.popularity, config, progress, generator)
    count = int(masked.sum())
    nothing = torch.zeros(())
    return BatchLoss(item_sum / max(count, 1), item_sum.detach(), count, nothing, int(real.sum()))
