"""The training loss of one batch of segments: items in full softmax, the other heads beside it."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.augment import substitutes_of, with_cold_items, with_masked_items, with_substitutes
from model.behaviour_units import held
from model.checkpoint import NORM_FLOOR
from model.config import TrainConfig
from model.data import NONE, Segments, Targets, padded_places, recency_weights
from model.dropout import Dropout, drop
from model.encoder_decoder import EncoderDecoderNet, following_actions
from model.item_loss import Asked, item_loss
from model.lessons import Lessons
from model.log import EventLog, Longs
from model.losses import class_loss, intent_loss
from model.nets import SequenceNet, TokenBatch
from model.share import WHOLE, Among, Share
from model.spec import ModelSpec
from model.tasks import task_targets
from model.taught_loss import taught_loss
from model.views import Views


class Columns(NamedTuple):
    """A log and its targets as tensors, shared with the arrays they were made of."""

    tokens: TokenBatch  # [N] each, dense [N, F]
    item: Tensor  # [N] targets
    action: Tensor  # [N]
    intent: Tensor  # [N, 2]
    gap: Tensor  # [N]
    tasks: Tensor  # [N, tasks]
    weight: Tensor | None  # [N] of each event in the item loss; None: all 1
    popularity: Tensor  # [V] share of each item among the item targets
    substitutes: Tensor | None  # [V, NEIGHBOURS] of each item; None: nothing is replaced
    lessons: Lessons | None = None  # of teachers, about the same events


class BatchLoss(NamedTuple):
    """``total`` is what training minimises; ``item_sum`` is over ``item_count`` targets, in nats;
    ``events`` were read. Of a share of a batch, ``item_sum`` and ``heads`` are its own part, the
    counts the batch's, and the mean of all ``total`` has the batch's gradients."""

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
        tasks=tensor(task_targets(log, spec, config.net_shape)),
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
    share: Share = WHOLE,
    item_weight: float = 1.0,
    units: Tensor | None = None,
) -> BatchLoss:
    """Loss of the segments ``batch`` [B], or of a ``share`` of them; losses are means over the
    batch's own targets, that of the items times ``item_weight``.

    ``progress`` is the share of the training that is done; ``units`` [H] marks those that the item
    loss does not move (None: it moves all).
    """
    places, real = padded_places(segments.start[batch], segments.lengths[batch])  # [B, T]
    scored = real & (places >= segments.scored[batch, None])
    mine = share.of(len(batch))
    tokens = tokens_at(columns, torch.from_numpy(places))
    shown = tokens._replace(item=_shown_items(tokens.item, columns, spec, config, generator))
    embedded = net.embed(TokenBatch(*(column[mine] for column in shown)))  # [b, T, H]
    among = Among(mine.start, len(batch))
    inputs = drop(embedded, config.input_dropout, generator, among)
    asking = _Asking(
        net, columns, torch.from_numpy(places), torch.from_numpy(scored), mine, config, generator,
        progress, units,
    )  # fmt: skip
    rows = asking.rows(inputs, among)  # [M, H]
    item_sum, item_count = asking.item_loss(rows)
    each = item_weight / max(item_count, 1)
    total = item_sum * each
    heads = _heads_loss(net, columns, asking, rows.detach() if detach_heads else rows)
    total = total + config.head_weight * heads
    if isinstance(net, EncoderDecoderNet):
        asked, among_all = (
            following_actions(columns.action, events, net.horizon)
            for events in (asking.events, asking.batch_events)
        )
        total = total + config.decoder_weight * net.decoder_loss(rows, asked, among_all)
    if config.adversarial_weight:
        rough = asking.rows(perturbed(inputs, item_sum, config.adversarial_size), among)
        adverse = asking.item_loss(rough)[0] * each
        total = total + config.adversarial_weight * adverse
    if config.contrastive_weight:
        lengths = torch.from_numpy(segments.lengths[batch])
        views = Views(net, spec, config, generator, share)
        total = total + config.contrastive_weight * views.loss(tokens, lengths)
    if share.splits(len(batch)):
        total = total * share.size
    first = torch.from_numpy(segments.start[batch][segments.fresh[batch]])
    total = total + _first_event_loss(net, spec, tokens_at(columns, first), detach_heads)
    return BatchLoss(total, item_sum.detach(), item_count, heads.detach(), int(real.sum()))


class _Asking(NamedTuple):
    """Where a batch's hidden states are asked, and what for; the rows ``mine`` are computed."""

    net: SequenceNet
    columns: Columns
    places: Tensor  # [B, T]
    scored: Tensor  # [B, T]
    mine: slice
    config: TrainConfig
    generator: torch.Generator
    progress: float
    units: Tensor | None  # [H]

    @property
    def events(self) -> Tensor:
        """Those that are asked after, [M]."""
        return self.places[self.mine][self.scored[self.mine]]

    @property
    def batch_events(self) -> Tensor:
        """The same of the whole batch, [N]."""
        return self.places[self.scored]

    def rows(self, inputs: Tensor, among: Among) -> Tensor:
        """Hidden states [M, H] after the events, of embedded sequences [b, T, H]."""
        seed = int(torch.randint(1 << 31, (), generator=self.generator))
        half = torch.autocast("cpu", torch.bfloat16, self.config.precision == "bfloat16")
        with half:
            memory = self.net.initial(len(inputs))
            dropout = Dropout(self.config.block_dropout, seed, among)
            hidden, _ = self.net.run(inputs, memory, dropout)  # [b, T, H]
        return hidden[self.scored[self.mine]].float()

    def item_loss(self, rows: Tensor) -> tuple[Tensor, int]:
        """Sum over the item targets of the hidden states [M, H], and the batch's number of them."""
        net, events = self.net, self.events
        answers = self.columns.item[events]  # [M]
        known = answers != NONE
        before = self.columns.item[self.places[: self.mine.start][self.scored[: self.mine.start]]]
        in_batch = self.columns.item[self.batch_events]  # [N]
        in_batch = in_batch[in_batch != NONE].long()
        among = Among(int((before != NONE).sum()), len(in_batch))
        weight = self.columns.weight
        moved = held(rows[known], self.units)  # [m, H]
        kept = drop(moved, self.config.hidden_dropout, self.generator, among)
        asked = Asked(
            queries=net.queries(kept),
            table=net.item_embedding[: net.item_count],
            targets=answers[known].long(),
            weights=None if weight is None else weight[events[known]],
            batch_targets=in_batch,
        )
        course = (self.columns.popularity, self.config, self.progress, self.generator)
        lessons = self.columns.lessons
        if lessons is None:
            loss = item_loss(asked, *course)
        else:
            told = lessons.about(events[known])
            loss = taught_loss(asked, told, lessons.temperature, lessons.weight, *course)
        return loss, len(in_batch)


def _heads_loss(net: SequenceNet, columns: Columns, asking: _Asking, seen: Tensor) -> Tensor:
    """Losses of the heads at hidden states [M, H]."""
    events, batch = asking.events, asking.batch_events
    return (
        class_loss(net.action_logits(seen), columns.action[events], columns.action[batch])
        + intent_loss(net.intent_logits(seen), columns.intent[events], columns.intent[batch])
        + class_loss(net.gap_logits(seen), columns.gap[events], columns.gap[batch])
        + intent_loss(net.task_logits(seen), columns.tasks[events], columns.tasks[batch])
    )


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
