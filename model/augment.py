"""Augmentation of input sequences: each trick changes what a net reads, never what it is asked.

Crop, mask and reorder are those of CL4SRec (Xie et al., ICDE 2022), substitution that of CoSeRec
(Liu et al., 2021). All are functions of a generator, so that a run can be taken up anywhere.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.log import EventLog
from model.spec import Ints, ModelSpec

# Items that an item may be replaced by.
NEIGHBOURS = 5


def with_cold_items(
    items: Tensor, spec: ModelSpec, share: float, generator: torch.Generator
) -> Tensor:
    """Item codes, a random share of the known ones replaced by random cold buckets."""
    if share == 0:
        return items
    chosen = torch.rand(items.shape, generator=generator) < share
    buckets = torch.randint(spec.cold_buckets, items.shape, generator=generator)
    cold = (spec.item_count + buckets).to(items.dtype)
    return torch.where(chosen & (items < spec.item_count), cold, items)


def with_masked_items(
    items: Tensor, spec: ModelSpec, share: float, generator: torch.Generator
) -> Tensor:
    """Item codes, a random share of them replaced by "no item"."""
    if share == 0:
        return items
    chosen = torch.rand(items.shape, generator=generator) < share
    return items.masked_fill(chosen, spec.no_item)


def with_substitutes(
    items: Tensor, substitutes: Tensor, share: float, generator: torch.Generator
) -> Tensor:
    """Item codes, a random share of the known ones replaced by one of their ``substitutes``
    [V, NEIGHBOURS]."""
    if share == 0:
        return items
    known = items < len(substitutes)
    chosen = known & (torch.rand(items.shape, generator=generator) < share)
    column = torch.randint(substitutes.shape[1], items.shape, generator=generator)
    replaced = substitutes[items.clamp(max=len(substitutes) - 1).long(), column]
    return torch.where(chosen, replaced.to(items.dtype), items)


def reordered(items: Tensor, lengths: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Sequences [B, T] with a random stretch of the share of their ``lengths`` [B] shuffled.

    For views of the contrastive term alone: a causal net's targets would lie inside the stretch.
    """
    size = (lengths * share).long()  # [B]
    begin = (torch.rand(lengths.shape, generator=generator) * (lengths - size + 1)).long()
    place = torch.arange(items.shape[1])  # [T]
    inside = (place >= begin[:, None]) & (place < (begin + size)[:, None])  # [B, T]
    # Places outside keep their rank, those inside get random ones between their neighbours'.
    key = torch.where(
        inside, begin[:, None] + torch.rand(items.shape, generator=generator), place.float()
    )
    return items.gather(1, key.argsort(dim=1, stable=True))


def cropped(
    items: Tensor, lengths: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A random stretch of the share of each sequence [B, T], at least one event, moved to the
    front, and its length [B]."""
    size = (lengths * share).long().clamp(min=1)  # [B]
    begin = (torch.rand(lengths.shape, generator=generator) * (lengths - size + 1)).long()
    place = begin[:, None] + torch.arange(items.shape[1])  # [B, T]
    last = (begin + size - 1)[:, None]
    return items.gather(1, torch.minimum(place, last)), size


def substitutes_of(log: EventLog, spec: ModelSpec) -> Ints:
    """For each known item those that came right before or after it most often, [V, NEIGHBOURS];
    the item itself where there are fewer."""
    item = log.item.astype(np.int64)
    pair = np.ones(max(0, log.events - 1), bool)
    pair[log.session_start[1:-1] - 1] = False
    pair &= (item[1:] < spec.item_count) & (item[:-1] < spec.item_count) & (item[1:] != item[:-1])
    left, right = item[:-1][pair], item[1:][pair]
    code = np.concatenate([left, right]) * spec.item_count + np.concatenate([right, left])
    code, count = np.unique(code, return_counts=True)
    order = np.lexsort((-count, code // spec.item_count))
    row = code[order] // spec.item_count
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    found = np.repeat(np.arange(spec.item_count, dtype=np.int32)[:, None], NEIGHBOURS, axis=1)
    best = rank < NEIGHBOURS
    found[row[best], rank[best]] = (code[order] % spec.item_count)[best]
    return found


def contrastive_loss(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """InfoNCE of two views [B, H] of the same sequences: mean over rows and both directions of
    -log softmax(cosine / temperature)[own row], in nats."""
    first, second = functional.normalize(one, dim=1), functional.normalize(other, dim=1)
    logits = first @ second.T / temperature  # [B, B]
    own = torch.arange(len(one))
    there = functional.cross_entropy(logits, own)
    return (there + functional.cross_entropy(logits.T, own)) / 2
