"""The training loss of one batch of segments: items in full softmax, the other heads beside it."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.augment import substitutes_of, with_cold_items, with_masked_items, with_substitutes
from model.checkpoint import NORM_FLOOR
from model.config import TrainConfig
from model.data import NONE, Segments, Targets, padded_places, recency_weights
from model.dropout import Dropout, drop
from model.item_loss import Asked, item_loss
from model.lessons import Lessons
from model.log import EventLog, Longs
from model.losses import class_loss, intent_loss
from model.nets import SequenceNet, TokenBatch
from model.spec import ModelSpec
from model.taught_loss import taught_loss
from model.views import Views


class Columns(NamedTuple):
    """A log and its targets as tensors, shared with the arrays they were made of."""

    tokens: TokenBatch  # [N] each, dense [N, F]
    item: Tensor  # [N] targets
    action: Tensor  # [N]
    intent: Tensor  # [N, 2]
    gap: Tensor  # [N]
    weight: Tensor | None  # [N] of each event in the item loss; None: all 1
    popularity: Tensor  # [V] share of each item among the item targets
    substitutes: Tensor | None  # [V, NEIGHBOURS] of each item; None: nothing is replaced
    lessons: Lessons | None = None  # of teachers, about the same events


class BatchLoss(NamedTuple):
    """``total`` is what training minimises; ``item_sum`` is over ``item_count`` targets, in nats;
    ``events`` were read."""

    total: Tensor
    item_sum: Tensor
    item_count: int
    heads: Tensor
    events: int


def columns_of(
    log: EventLog,
    spec: ModelSpec,
    targets: Targets,
    config: TrainConfig,
    lessons: Lessons | None = None,
) -> Columns:
    """Tensors over the log's arrays, and what the settings make of the log."""

    def tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))

    weights = recency_weights(log, config.recency_halving)
    counts = np.bincount(targets.item[targets.item != NONE], minlength=spec.item_count)
    return Columns(
        tokens=TokenBatch(*(tensor(a) for a in (log.item, log.action, log.gap, log.dense))),
        item=tensor(targets.item),
        action=tensor(targets.action),
        intent=tensor(targets.intent),
        gap=tensor(targets.gap),
        weight=None if weights is None else tensor(weights),
        popularity=tensor(counts / max(1, counts.sum())).float(),
        substitutes=tensor(substitutes_of(log, spec)) if config.substitute_share else None,
        lessons=lessons,
    )


def tokens_at(columns: Columns, places: Tensor) -> TokenBatch:
    """The tokens of events by index, in the shape of ``places``."""
    return TokenBatch(*(column[places] for column in columns.tokens))


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
    shown = _shown_items(tokens.item, columns, spec, config, generator)
    inputs = drop(net.embed(tokens._replace(item=shown)), config.input_dropout, generator)
    events = torch.from_numpy(places[scored])  # [M]
    asking = _Asking(net, columns, torch.from_numpy(scored), events, config, generator, progress)
    rows = asking.rows(inputs)  # [M, H]
    item_sum, item_count = asking.item_loss(rows)
    seen = rows.detach() if detach_heads else rows
    heads = (
        class_loss(net.action_logits(seen), columns.action[events])
        + intent_loss(net.intent_logits(seen), columns.intent[events])
        + class_loss(net.gap_logits(seen), columns.gap[events])
    )
    first = torch.from_numpy(segments.start[batch][segments.fresh[batch]])
    total = item_sum / max(item_count, 1) + config.head_weight * heads
    total = total + _first_event_loss(net, spec, tokens_at(columns, first), detach_heads)
    if config.adversarial_weight:
        rough = asking.rows(perturbed(inputs, item_sum, config.adversarial_size))
        adverse = asking.item_loss(rough)[0] / max(item_count, 1)
        total = total + config.adversarial_weight * adverse
    if config.contrastive_weight:
        lengths = torch.from_numpy(segments.lengths[batch])
        views = Views(net, spec, config, generator)
        total = total + config.contrastive_weight * views.loss(tokens, lengths)
    return BatchLoss(total, item_sum.detach(), item_count, heads.detach(), int(real.sum()))


class _Asking(NamedTuple):
    """Where a batch's hidden states are asked, and what for."""

    net: SequenceNet
    columns: Columns
    scored: Tensor  # [B, T]
    events: Tensor  # [M]
    config: TrainConfig
    generator: torch.Generator
    progress: float

    def rows(self, inputs: Tensor) -> Tensor:
        """Hidden states [M, H] after the events, of embedded sequences [B, T, H]."""
        seed = int(torch.randint(1 << 31, (), generator=self.generator))
        half = torch.autocast("cpu", torch.bfloat16, self.config.precision == "bfloat16")
        with half:
            memory = self.net.initial(len(inputs))
            dropout = Dropout(self.config.block_dropout, seed)
            hidden, _ = self.net.run(inputs, memory, dropout)  # [B, T, H]
        return hidden[self.scored].float()

    def item_loss(self, rows: Tensor) -> tuple[Tensor, int]:
        """Sum over the item targets of the hidden states [M, H], and their number."""
        answers, net = self.columns.item[self.events], self.net  # [M]
        known = answers != NONE
        weight = self.columns.weight
        asked = Asked(
            queries=net.queries(drop(rows[known], self.config.hidden_dropout, self.generator)),
            table=net.item_embedding[: net.item_count],
            targets=answers[known].long(),
            weights=None if weight is None else weight[self.events[known]],
        )
        course = (self.columns.popularity, self.config, self.progress, self.generator)
        lessons = self.columns.lessons
        if lessons is None:
            loss = item_loss(asked, *course)
        else:
            told = lessons.about(self.events[known])
            loss = taught_loss(asked, told, lessons.temperature, lessons.weight, *course)
        return loss, int(known.sum())


def _shown_items(
    items: Tensor,
    columns: Columns,
    spec: ModelSpec,
    config: TrainConfig,
    generator: torch.Generator,
) -> Tensor:
    """What the net reads of item codes [B, T] in training."""
    items = with_cold_items(items, spec, config.cold_share, generator)
    items = with_masked_items(items, spec, config.mask_share, generator)
    if columns.substitutes is None:
        return items
    return with_substitutes(items, columns.substitutes, config.substitute_share, generator)


def perturbed(inputs: Tensor, loss: Tensor, size: float) -> Tensor:
    """Inputs [B, T, H] moved by ``size`` each the way that raises the loss fastest (Miyato et al.,
    "Adversarial training methods for semi-supervised text classification", ICLR 2017)."""
    (slope,) = torch.autograd.grad(loss, inputs, retain_graph=True)
    return inputs + size * functional.normalize(slope, dim=-1)


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
