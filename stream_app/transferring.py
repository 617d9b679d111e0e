"""Begin a training from a model, on the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from model.checkpoint import Checkpoint, load
from model.config import TrainConfig
from model.content import Content
from model.guide import Guide
from model.log import EventLog
from model.spec import ModelSpec
from model.train import held_back
from model.transfer import TransferConfig, extended_spec, guide_from
from stream_app.invocation import UserError

# What a log alone decides, whatever model is begun from.
_FREE = frozenset({"min_item_count", "max_items"})
_SHAPE = frozenset(
    {"name", "hidden_width", "cold_buckets", "features", "reset_at_session", "session_gap_ms"}
    | {"window_ms", "ring_length", "top_k", "memory_dtype", "net", "layers", "heads", "horizon"}
)


class Begun(NamedTuple):
    """A model to begin from, and spec and items with what the new log adds."""

    earlier: Checkpoint
    spec: ModelSpec
    items: tuple[str, ...]

    def settings(self, config: TrainConfig) -> TrainConfig:
        """The settings for the earlier model's net; without epochs nothing is held out."""
        net = self.earlier.manifest.net
        config = msgspec.structs.replace(
            config,
            net=net.name,
            layers=net.layers,
            heads=net.heads,
            horizon=net.horizon,
        ).with_tasks(net)
        if config.epochs == 0:
            return msgspec.structs.replace(config, held_out=0.0, leave_one_out=False)
        return config

    def guide(
        self,
        log: EventLog,
        config: TrainConfig,
        transfer: TransferConfig = TransferConfig(),  # noqa: B008
        content: Content | None = None,
    ) -> Guide:
        """A training on ``log`` from the earlier model. What the settings hold out is kept from
        the weights that it begins with, too."""
        learned = held_back(log, self.spec, config)[0] if config.holds_out else log
        shape = config.net_shape
        return guide_from(self.earlier, self.spec, self.items, learned, transfer, content, shape)


def begin_from(folder: Path, spec: ModelSpec, items: tuple[str, ...]) -> Begun:
    """The model of a folder, extended by what a log has: its ``spec`` and ``items``."""
    earlier = load(folder)
    return Begun(earlier, *extended_spec(earlier, spec, items))


def check_begun(
    begin: Path | None, of_transfer: Mapping[str, str], others: Mapping[str, str]
) -> None:
    """Raise UserError for settings that do not go together with beginning anew, or from a model."""
    if begin is None and of_transfer:
        raise UserError(
            f"--set {next(iter(of_transfer))} is about a model to begin from; add --from MODEL."
        )
    if begin is not None and (fixed := sorted((others.keys() & _SHAPE) - _FREE)):
        raise UserError(
            f"{fixed[0]} is that of the model which --from names; leave it out of the settings."
        )
