"""A tower that makes an item's vector from what the catalogue says of it, so that an item which
nobody has clicked yet can be predicted.

After attribute-to-feature mapping (Gantner et al., "Learning attribute-to-feature mappings for
cold-start recommendations", ICDM 2010), with the ranking itself as the goal: after each event of
the log, the hidden state of the trained net should meet the tower's vector of the next item.
"""

import copy

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import POSITIVE, SHARE, TRUE_SHARE, at_least, check_bounds
from model.content import Content
from model.data import NONE, targets_of
from model.log import EventLog, Longs
from model.losses import cosine_softmax_loss
from model.nets import SequenceNet
from model.scoring import hidden_states
from model.spec import Floats, ModelSpec


class TowerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a tower is fitted."""

    width: int = 128
    dropout: float = 0.1
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    batch_events: int = 512
    # Items that compete for an event at once: its batch's targets, and others by lot.
    competing: int = 4_096
    most_events: int = 100_000
    epochs: int = 20
    # Share of the items that play the unknown ones, to choose the number of epochs; and epochs
    # without a better loss on them before the choice is made.
    hidden_share: float = 0.1
    patience: int = 3
    seed: int = 1

    def __post_init__(self) -> None:
        whole = "width batch_events competing most_events epochs patience"
        bounds = {at_least(1): whole, at_least(0): "seed", POSITIVE: "learning_rate"}
        check_bounds(self, bounds | {SHARE: "dropout weight_decay", TRUE_SHARE: "hidden_share"})


class Tower(nn.Module):
    """Features [..., F] to vectors [..., H]: a linear way and one with a hidden layer."""

    def __init__(self, features: int, hidden: int, width: int, dropout: float) -> None:
        super().__init__()
        self.straight = nn.Linear(features, width, bias=False)
        self.opening = nn.Linear(features, hidden)
        self.closing = nn.Linear(hidden, width, bias=False)
        self.dropout = dropout

    def forward(self, features: Tensor) -> Tensor:
        hidden = functional.silu(self.opening(features))
        hidden = functional.dropout(hidden, self.dropout, self.training)
        vectors: Tensor = self.straight(features) + self.closing(hidden)
        return vectors


def tower_vectors(
    net: SequenceNet,
    log: EventLog,
    spec: ModelSpec,
    content: Content,
    config: TowerConfig = TowerConfig(),  # noqa: B008
) -> Floats:
    """Unit vectors [V, H] of all described items, by a tower that is fitted to the log's events;
    zeros for the others."""
    vectors = np.zeros((spec.item_count, spec.hidden_width), np.float32)
    queries, targets = _questions(net, log, spec, content, config)
    if len(targets) == 0:
        return vectors
    # torch's modules draw from its global generator.
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        tower = _fitted(queries, targets, content, config)
    with torch.no_grad():
        made = functional.normalize(tower.eval()(torch.from_numpy(content.features)), dim=1)
    vectors[content.described] = made.numpy()[content.described]
    return vectors


@torch.no_grad()
def _questions(
    net: SequenceNet, log: EventLog, spec: ModelSpec, content: Content, config: TowerConfig
) -> tuple[Tensor, Longs]:
    """Queries [M, H] after the newest events whose next item is described, and those items [M]."""
    target = targets_of(log, spec).item
    asked = np.flatnonzero(target != NONE)
    asked = asked[content.described[target[asked]]]
    asked = asked[np.argsort(log.at_ms[asked], kind="stable")][-config.most_events :]
    asked = np.sort(asked)
    queries = torch.zeros(len(asked), spec.hidden_width)
    if len(asked):
        for events, hidden in hidden_states(net, log, spec, asked):
            queries[torch.from_numpy(np.searchsorted(asked, events))] = net.queries(hidden)
    return queries, target[asked].astype(np.int64)


def _fitted(queries: Tensor, targets: Longs, content: Content, config: TowerConfig) -> Tower:
    """A tower fitted to all questions for as many epochs as were best for hidden items."""
    clicked = np.unique(targets)
    rng = np.random.default_rng(config.seed)
    hidden = rng.choice(clicked, int(config.hidden_share * len(clicked)), replace=False)
    is_hidden = np.isin(targets, hidden)
    features = torch.from_numpy(content.features)
    tower = Tower(features.shape[1], config.width, queries.shape[1], config.dropout)
    fresh = copy.deepcopy(tower)
    if not is_hidden.any() or is_hidden.all():
        return _trained(fresh, queries, targets, clicked, features, config, config.epochs)[0]
    held = (queries[torch.from_numpy(is_hidden)], targets[is_hidden], hidden)
    seen = torch.from_numpy(~is_hidden)
    shown = np.setdiff1d(clicked, hidden)
    _, best = _trained(
        tower, queries[seen], targets[~is_hidden], shown, features, config, config.epochs, held
    )
    return _trained(fresh, queries, targets, clicked, features, config, best)[0]


def _trained(
    tower: Tower,
    queries: Tensor,
    targets: Longs,
    items: Longs,
    features: Tensor,
    config: TowerConfig,
    epochs: int,
    held: tuple[Tensor, Longs, Longs] | None = None,
) -> tuple[Tower, int]:
    """The tower after so many epochs, or earlier where hidden items have been foretold best; and
    how many of them that took."""
    rng = np.random.default_rng([config.seed, len(items)])
    optimizer = torch.optim.AdamW(
        tower.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    best_loss, best_epoch = np.inf, epochs
    for epoch in range(1, epochs + 1):
        tower.train()
        order = rng.permutation(len(targets))
        for begin in range(0, len(order), config.batch_events):
            batch = order[begin : begin + config.batch_events]
            competing = items
            if len(items) > config.competing:
                others = rng.choice(items, config.competing, replace=False)
                competing = np.union1d(others, targets[batch])
            loss = _loss(
                tower, queries[torch.from_numpy(batch)], targets[batch], competing, features
            )
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
        if held is None:
            continue
        with torch.no_grad():
            found = float(_loss(tower.eval(), *held, features))
        if found < best_loss:
            best_loss, best_epoch = found, epoch
        elif epoch - best_epoch >= config.patience:
            break
    return tower, best_epoch


def _loss(
    tower: Tower, queries: Tensor, targets: Longs, items: npt.NDArray[np.int64], features: Tensor
) -> Tensor:
    """Mean over questions of -log softmax among ``items`` (ascending), in nats."""
    items = np.sort(items)
    place = torch.from_numpy(np.searchsorted(items, targets))
    table = tower(features[torch.from_numpy(items)])  # [C, H]
    return cosine_softmax_loss(queries, table, place) / len(targets)
