"""The training loss of one batch of segments: items in full softmax, the other heads beside it."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.checkpoint import NORM_FLOOR
from model.config import TrainConfig
from model.data import NONE, Segments, Targets, padded_places
from model.item_loss import Asked, item_loss
from model.log import EventLog, Longs
from model.losses import class_loss, intent_loss
from model.nets import SequenceNet, TokenBatch
from model.spec import Floats, ModelSpec


class Columns(NamedTuple):
    """A log and its targets as tensors, shared with the arrays they were made of."""

    tokens: TokenBatch  # [N] each, dense [N, F]
    item: Tensor  # [N] targets
    action: Tensor  # [N]
    intent: Tensor  # [N, 2]
    gap: Tensor  # [N]
    weight: Tensor | None  # [N] of each event in the item loss; None: all 1
    popularity: Tensor  # [V] share of each item among the item targets


class BatchLoss(NamedTuple):
    """``total`` is what training minimises; ``item_sum`` is over ``item_count`` targets, in nats;
    ``events`` were read."""

    total: Tensor
    item_sum: Tensor
    item_count: int
    heads: Tensor
    events: int


def columns_of(
    log: EventLog, spec: ModelSpec, targets: Targets, weights: Floats | None = None
) -> Columns:
    """Tensors over the log's arrays; ``weights`` [N] of the events in the item loss."""

    def tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))

    counts = np.bincount(targets.item[targets.item != NONE], minlength=spec.item_count)
    return Columns(
        tokens=TokenBatch(*(tensor(a) for a in (log.item, log.action, log.gap, log.dense))),
        item=tensor(targets.item),
        action=tensor(targets.action),
        intent=tensor(targets.intent),
        gap=tensor(targets.gap),
        weight=None if weights is None else tensor(weights),
        popularity=tensor(counts / max(1, counts.sum())).float(),
    )


def tokens_at(columns: Columns, places: Tensor) -> TokenBatch:
    """The tokens of events by index, in the shape of ``places``."""
    return TokenBatch(*(column[places] for column in columns.tokens))


def drop(values: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Dropout with its randomness as an argument, so that a run can be taken up anywhere."""
    if share == 0:
        return values
    keep = torch.empty_like(values).bernoulli_(1 - share, generator=generator)
    return values * keep / (1 - share)


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


def batch_loss(
    net: SequenceNet,
    spec: ModelSpec,
    columns: Columns,
    segments: Segments,
    batch: Longs,
    config: TrainConfig,
    detach_heads: bool,
    generator: torch.Generator,
    progress: float = 0.0,
) -> BatchLoss:
    """Loss of the segments ``batch`` [B]; losses are means over the batch's own targets.

    ``progress`` is the share of the training that is done.
    """
    places, real = padded_places(segments.start[batch], segments.lengths[batch])  # [B, T]
    scored = real & (places >= segments.scored[batch, None])
    tokens = tokens_at(columns, torch.from_numpy(places))
    cold = with_cold_items(tokens.item, spec, config.cold_share, generator)
    shown = with_masked_items(cold, spec, config.mask_share, generator)
    inputs = drop(net.embed(tokens._replace(item=shown)), config.input_dropout, generator)

    def drop_inside(values: Tensor) -> Tensor:
        return drop(values, config.block_dropout, generator)

    hidden, _ = net.run(inputs, net.initial(len(batch)), drop_inside)  # [B, T, H]
    rows = hidden[torch.from_numpy(scored)]  # [M, H]
    events = torch.from_numpy(places[scored])  # [M]

    answers = columns.item[events]  # [M]
    known = answers != NONE
    item_count = int(known.sum())
    asked = drop(rows[known], config.hidden_dropout, generator)
    ask = Asked(
        queries=net.queries(asked),
        table=net.item_embedding[: spec.item_count],
        targets=answers[known].long(),
        weights=None if columns.weight is None else columns.weight[events[known]],
    )
    item_sum = item_loss(ask, columns.popularity, config, progress, generator)
    seen = rows.detach() if detach_heads else rows
    heads = (
        class_loss(net.action_logits(seen), columns.action[events])
        + intent_loss(net.intent_logits(seen), columns.intent[events])
        + class_loss(net.gap_logits(seen), columns.gap[events])
    )
    first = torch.from_numpy(segments.start[batch][segments.fresh[batch]])
    total = item_sum / max(item_count, 1) + config.head_weight * heads
    total = total + _first_event_loss(net, spec, tokens_at(columns, first), detach_heads)
    return BatchLoss(total, item_sum.detach(), item_count, heads.detach(), int(real.sum()))


def _first_event_loss(
    net: SequenceNet, spec: ModelSpec, first: TokenBatch, detach_heads: bool
) -> Tensor:
    """What the initial memory says of the first events [B]. The item table is left alone: it
    would learn popularity, which the scores of all other events would then carry."""
    initial = net.initial_hidden
    known = first.item < spec.item_count
    loss = class_loss(
        net.action_logits(initial.detach() if detach_heads else initial).expand(len(known), -1),
        first.action,
    )
    if bool(known.any()):
        table = net.item_embedding[: spec.item_count].detach()  # [V, H]
        norms = torch.linalg.vector_norm(table, dim=1).clamp(min=NORM_FLOOR)  # [V]
        query = functional.normalize(initial, dim=0, eps=NORM_FLOOR) * net.logit_scale.detach()
        logits = (table @ query) / norms  # [V]
        loss = loss - torch.log_softmax(logits, 0)[first.item[known].long()].mean()
    return loss
