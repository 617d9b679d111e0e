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
from model.nets import TokenBatch
from model.objective import BatchLoss, Columns, tokens_at
from model.share import WHOLE, Among, Share
from model.transformer import TransformerNet


def masked_loss(
    net: TransformerNet,
    columns: Columns,
    segments: Segments,
    batch: Longs,
    config: TrainConfig,
    generator: torch.Generator,
    progress: float = 0.0,
    share: Share = WHOLE,
) -> BatchLoss:
    """Loss of the segments ``batch`` [B], or of a ``share`` of them: mean over the known items that
    are masked, a share ``config.pretrain_mask_share`` of them."""
    places, real = padded_places(segments.start[batch], segments.lengths[batch])  # [B, T]
    tokens = tokens_at(columns, torch.from_numpy(places))
    known = torch.from_numpy(real) & (tokens.item < net.item_count)
    masked = known & (torch.rand(known.shape, generator=generator) < config.pretrain_mask_share)
    shown = tokens._replace(item=tokens.item.masked_fill(masked, net.no_item))
    mine = share.of(len(batch))
    among = Among(mine.start, len(batch))
    embedded = net.embed(TokenBatch(*(column[mine] for column in shown)))  # [b, T, H]
    inputs = drop(embedded, config.input_dropout, generator, among)
    seed = int(torch.randint(1 << 31, (), generator=generator))
    dropout = Dropout(config.block_dropout, seed, among)
    hidden = net.both_ways(inputs, torch.from_numpy(real[mine]), dropout)  # [b, T, H]
    count = int(masked.sum())
    among = Among(int(masked[: mine.start].sum()), count)
    rows = drop(hidden[masked[mine]], config.hidden_dropout, generator, among)  # [M, H]
    asked = Asked(
        queries=net.queries(rows),
        table=net.item_embedding[: net.item_count],
        targets=tokens.item[mine][masked[mine]].long(),
        weights=None,
        batch_targets=tokens.item[masked].long(),
    )
    item_sum = item_loss(asked, columns.popularity, config, progress, generator)
    total = item_sum / max(count, 1) * (share.size if share.splits(len(batch)) else 1)
    return BatchLoss(total, item_sum.detach(), count, torch.zeros(()), int(real.sum()))
