"""One training phase: epochs over a log, from any position, to the same end."""

import copy
import math

import msgspec
import numpy as np
import torch
from torch import Tensor

from model.architectures import build_net
from model.behaviour_units import chosen_units, found_units, kept_entries
from model.config import TrainConfig
from model.data import (
    INTENTS,
    NONE,
    DataError,
    Segments,
    Targets,
    epoch_batches,
    segments_of,
    targets_of,
)
from model.guide import NO_GUIDE, Guide, Leash
from model.log import EventLog, Longs
from model.lora import adapted, merged
from model.masked import masked_loss
from model.nets import SequenceNet
from model.objective import BatchLoss, batch_loss, columns_of
from model.resume import Arrays
from model.spec import Ints, ModelSpec
from model.tasks import base_logits
from model.team import ALONE, Team
from model.transformer import TransformerNet

# log-odds of an intent that the data says nothing about: as good as never.
NEVER = -10.0


class DivergedError(DataError):
    """The loss became NaN or infinite."""


class Fitting:
    """A net, its optimizer and its data; ``step`` trains on one batch.

    Every random choice is drawn from (seed, epoch, batch): no generator lives between batches.
    """

    def __init__(
        self,
        log: EventLog,
        spec: ModelSpec,
        config: TrainConfig,
        epochs: int,
        guide: Guide = NO_GUIDE,
        team: Team = ALONE,
    ) -> None:
        self.spec, self.config, self.epochs, self.team = spec, config, epochs, team
        targets = targets_of(log, spec)
        self.item_targets = int(np.count_nonzero(targets.item != NONE))
        self.columns = columns_of(log, spec, targets, config, guide.lessons)
        self.segments: Segments = segments_of(log, spec, config.max_length)
        self.asked = self.segments.stop - self.segments.scored  # [R] events that are asked after
        answered = np.append(0, np.cumsum(targets.item != NONE))
        # [R] events with an item after them
        self.answered = answered[self.segments.stop] - answered[self.segments.scored]
        self.detach_heads = (
            config.detach_heads
            if config.detach_heads is not None
            else len(np.unique(log.action)) < 2
        )
        self.net = initial_net(spec, targets, config, self.columns.tasks.numpy())
        units = chosen_units(spec, config) if guide.weights is None else found_units(guide.weights)
        # [H] units that read no items; None: all read them.
        self.units = torch.from_numpy(units) if units.any() else None
        self.leash = Leash(guide, self.net, kept_entries(units) if units.any() else {})
        if isinstance(self.net, TransformerNet):
            self.net.checkpointing = config.checkpointing
        # What is measured and saved: the net itself, or the running average of its weights.
        if guide.lora_rank:
            adapted(self.net, guide.lora_rank, config.seed)
        self._is_adapted = guide.lora_rank > 0
        self.average = copy.deepcopy(self.net) if config.averaging else self.net
        self.updates = 0
        self.learner = team.learner(self.net, leaves_out=config.pretrain_epochs > 0)
        self.optimizer = _optimizer(self.net, config)
        self.rate = 0.0  # of the last batch

    def measured(self) -> SequenceNet:
        """The net that is measured and saved: the average, with adapters merged into it."""
        return merged(self.average) if self._is_adapted else self.average

    def batches(self, epoch: int) -> list[Longs]:
        """Segments of each batch of an epoch."""
        return epoch_batches(
            self.segments.lengths,
            self.config.batch_sequences,
            self.config.batch_events,
            self.config.seed,
            epoch,
        )

    def step(
        self,
        epoch: int,
        number: int,
        batches: int,
        batch: Longs,
    ) -> BatchLoss:
        """Train on batch ``number`` of the epoch's ``batches``; raises DivergedError."""
        generator = torch.Generator()
        generator.manual_seed(
            int(np.random.SeedSequence([self.config.seed, epoch, number]).generate_state(1)[0])
        )
        progress = (epoch + number / batches) / self.epochs
        self.rate = learning_rate(progress, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.zero_grad(set_to_none=True)
        weighed = self._weighed(batch, batches)
        items = self._item_weight(batch, batches)
        loss = self.learner(lambda: self._loss(epoch, weighed, items, batch, generator, progress))
        torch.autograd.backward(loss.total)
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip_norm)
        loss = self._of_all(loss, len(batch))
        total = loss.total.item()
        if not (math.isfinite(total) and math.isfinite(norm.item())):
            raise DivergedError(
                f"the loss became {total} in epoch {epoch + 1}, batch {number + 1}, "
                f"at a learning rate of {self.rate:g}; try --set "
                f"learning_rate={self.config.learning_rate / 3:.2g}"
            )
        self.optimizer.step()
        self.leash.cut()
        self._update_average()
        return loss

    def _weighed(self, batch: Longs, batches: int) -> TrainConfig:
        """The settings with the heads' weight as the events of a batch of ``batches`` deserve.

        A batch holds sequences of like length and its loss is a mean, by which an event among short
        ones would count for more than one among long ones, and the heads foretell too many ends.
        """
        share = float(self.asked[batch].sum() * batches / self.asked.sum())
        return msgspec.structs.replace(
            self.config,
            head_weight=self.config.head_weight * share,
            decoder_weight=self.config.decoder_weight * share,
        )

    def _item_weight(self, batch: Longs, batches: int) -> float:
        """That of a batch's mean item loss: 1 where sequences count alike."""
        if self.config.counted == "sequences":
            return 1.0
        return float(self.answered[batch].sum() * batches / max(1, self.answered.sum()))

    def _loss(
        self,
        epoch: int,
        config: TrainConfig,
        item_weight: float,
        batch: Longs,
        generator: torch.Generator,
        progress: float,
    ) -> BatchLoss:
        net, share = self.net, self.team.share
        about = (self.columns, self.segments, batch, config)
        if epoch < self.config.pretrain_epochs and isinstance(net, TransformerNet):
            loss = masked_loss(net, *about, generator, progress, share)
        else:
            loss = batch_loss(
                net,
                self.spec,
                *about,
                self.detach_heads,
                generator,
                progress,
                share,
                item_weight,
                self.units,
            )
        return loss._replace(total=loss.total + self.leash.penalty())

    def _of_all(self, loss: BatchLoss, rows: int) -> BatchLoss:
        """The loss of a whole batch from that of the process's own share."""
        if self.team.size == 1:
            return loss
        numbers = torch.stack([loss.total.detach(), loss.item_sum, loss.heads])
        total, item_sum, heads = self.team.summed(numbers)
        size = self.team.size
        if not self.team.share.splits(rows):
            item_sum, heads = item_sum / size, heads / size
        return loss._replace(total=total / size, item_sum=item_sum, heads=heads)

    def _update_average(self) -> None:
        """The average (Polyak & Juditsky 1992) forgets fast at first, when weights are poor."""
        self.updates += 1
        if self.average is self.net:
            return
        kept = min(self.config.averaging, self.updates / (self.updates + 10))
        with torch.no_grad():
            # By name: adapters change the order.
            now = dict(self.net.named_parameters())
            for name, mean in self.average.named_parameters():
                mean.lerp_(now[name], 1 - kept)

    def state(self) -> Arrays:
        """Weights and the optimizer's moments as arrays."""
        arrays: Arrays = {"updates": np.array(self.updates)}
        if self.average is not self.net:
            for name, mean in self.average.named_parameters():
                arrays[f"average.{name}"] = mean.detach().numpy()
        for name, parameter in self.net.named_parameters():
            arrays[f"net.{name}"] = parameter.detach().numpy()
            for key, value in self.optimizer.state.get(parameter, {}).items():
                arrays[f"{key}.{name}"] = value.numpy()
        return arrays

    def restore(self, arrays: Arrays) -> None:
        """Take over what ``state`` gave."""
        self.updates = int(arrays["updates"])
        with torch.no_grad():
            if self.average is not self.net:
                for name, mean in self.average.named_parameters():
                    mean.copy_(torch.from_numpy(arrays[f"average.{name}"]))
            for name, parameter in self.net.named_parameters():
                parameter.copy_(torch.from_numpy(arrays[f"net.{name}"]))
                moments = {
                    key: torch.from_numpy(arrays[f"{key}.{name}"].copy())
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"{key}.{name}" in arrays
                }
                if moments:
                    self.optimizer.state[parameter] = moments


def learning_rate(progress: float, config: TrainConfig) -> float:
    """One cycle (Smith & Topin 2017): up from 1/25 in half a cosine, down to 1/1000 in another.

    ``progress`` is the share of all batches done, in [0, 1]. With snapshots there is a cycle for
    each (Huang et al., "Snapshot ensembles", ICLR 2017).
    """
    if config.snapshots:
        progress = progress * config.snapshots % 1.0
    low, peak, end = 0.04, 1.0, 0.001
    warm = config.warmup_share
    if progress < warm:
        share = low + (peak - low) * (1 - math.cos(math.pi * progress / warm)) / 2
    else:
        share = end + (peak - end) * (1 + math.cos(math.pi * (progress - warm) / (1 - warm))) / 2
    return config.learning_rate * share


def initial_net(
    spec: ModelSpec, targets: Targets, config: TrainConfig, tasks: Ints | None = None
) -> SequenceNet:
    """A seeded net whose heads begin at the base rates of their targets.

    A head that the data says nothing about stays where it begins, so it begins at a probability
    that does no harm: absent intents at nearly 0, absent actions at the least. ``tasks`` [N, tasks]
    are the answers of the shape's tasks.
    """
    net = build_net(spec, config.net_shape, torch.Generator().manual_seed(config.seed))
    with torch.no_grad():
        net.action_head.bias.copy_(_log_rates(targets.action, len(spec.actions)))
        net.gap_head.bias.copy_(_log_rates(targets.gap, spec.gap_count - 1))
        if net.task_head is not None and tasks is not None:
            net.task_head.bias.copy_(torch.from_numpy(base_logits(tasks)))
        for column in range(len(INTENTS)):
            known = targets.intent[:, column][targets.intent[:, column] != NONE]
            if len(known):
                rate = (known.sum() + 0.5) / (len(known) + 1)
                net.intent_head.bias[column] = math.log(rate / (1 - rate))
            else:
                net.intent_head.weight[column] = 0.0
                net.intent_head.bias[column] = NEVER
    return net


def _log_rates(targets: Ints, classes: int) -> Tensor:
    counts = np.bincount(targets[targets != NONE], minlength=classes) + 0.5
    return torch.from_numpy(np.log(counts / counts.sum())).float()


def _optimizer(net: SequenceNet, config: TrainConfig) -> torch.optim.AdamW:
    learning = [p for p in net.parameters() if p.requires_grad]
    matrices = [p for p in learning if p.ndim == 2]
    others = [p for p in learning if p.ndim != 2]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        fused=True,
    )
