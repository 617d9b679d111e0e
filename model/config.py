"""How to train: one frozen object, validated once, and ``KEY=VALUE`` pairs that change it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

import msgspec

from model.net_shape import NetName, NetShape, Task

ItemLoss = Literal["softmax", "sampled", "gbce"]
Precision = Literal["float32", "bfloat16"]
Counted = Literal["sequences", "events"]
DAY_MS = 86_400_000
Settings = TypeVar("Settings", bound=msgspec.Struct)


class ConfigError(ValueError):
    """A training setting is unknown or out of range."""

    exit_code: ClassVar[int] = 2


class Bounds(NamedTuple):
    """Which values a setting may have, as a rule and in the words that follow "must be"."""

    allow: Callable[[float], bool]
    words: str


def at_least(low: int) -> Bounds:
    return Bounds(lambda value: value >= low, f"at least {low}")


def between(low: float, high: float) -> Bounds:
    return Bounds(lambda value: low <= value <= high, f"in [{low:g}, {high:g}]")


POSITIVE = Bounds(lambda value: 0 < value < math.inf, "above 0 and finite")
NOT_NEGATIVE = Bounds(lambda value: 0 <= value < math.inf, "0 or more and finite")
SHARE = Bounds(lambda value: 0 <= value < 1, "in [0, 1)")
TRUE_SHARE = Bounds(lambda value: 0 < value < 1, "in (0, 1)")


def check_bounds(settings: msgspec.Struct, bounds: Mapping[Bounds, str]) -> None:
    """Raise ConfigError for a setting that leaves its bounds; ``bounds`` has the names of those
    that share some, with blanks between them."""
    for bound, names in bounds.items():
        for name in names.split():
            value = getattr(settings, name)
            if not bound.allow(value):
                raise ConfigError(f"{name} must be {bound.words}, got {value}")


_BOUNDS = {
    at_least(0): "epochs pretrain_epochs patience snapshots behaviour_units seed",
    at_least(1): "negatives layers heads horizon batch_sequences batch_events threads save_every",
    at_least(2): "max_length",
    POSITIVE: "learning_rate clip_norm contrastive_temperature view_share adversarial_size"
    " pretrain_mask_share",
    SHARE: "held_out input_dropout hidden_dropout block_dropout full_share label_smoothing"
    " averaging mask_share substitute_share cold_share warmup_share weight_decay",
    between(0, 1): "gbce_calibration",
    NOT_NEGATIVE: "head_weight decoder_weight churn_days recency_halving contrastive_weight"
    " adversarial_weight",
}


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one training run. The defaults suit click sessions of a few hundred thousand
    events; ``model.presets`` knows others."""

    net: NetName = "gru"
    # Blocks and heads of a Transformer; recurrent nets have one layer.
    layers: int = 2
    heads: int = 2
    # Actions that an encoder-decoder foretells, and the weight of its loss beside the item loss.
    horizon: int = 5
    decoder_weight: float = 0.5
    # Days without an event after which a user has churned; 0: no head for it. And whether a head
    # foretells that a promoted item is put into the cart or bought in the session.
    churn_days: float = 0.0
    promotions: bool = False
    # Epochs to train, or at most to try where a tail is held out; 0: a model that is begun from
    # stays as it is.
    epochs: int = 7
    # The first of these epochs in which a Transformer restores masked items from both sides.
    pretrain_epochs: int = 0
    pretrain_mask_share: float = 0.2
    # Share of the sessions, the latest ones, held out to choose the number of epochs; 0: none.
    held_out: float = 0.0
    # Hold out each user's last item instead: leave-one-out, for histories without repeats.
    leave_one_out: bool = False
    # Epochs without a better MRR@20 on what is held out before training stops; 0: all epochs are
    # trained, and only the last is measured.
    patience: int = 2
    # Cycles of the learning rate; the weights at the end of each are kept beside the model, as
    # members of an ensemble. 0: one cycle, and nothing is kept.
    snapshots: int = 0
    # After choosing, train anew on everything for the chosen number of epochs.
    refit: bool = True
    batch_sequences: int = 128
    # Bounds a batch's memory where sequences are long.
    batch_events: int = 4_096
    # Longer memories are cut into overlapping stretches of this many events.
    max_length: int = 200
    learning_rate: float = 3e-3
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    # Inside a Transformer's branches.
    block_dropout: float = 0.0
    # "sampled" and "gbce" look at the batch's targets and ``negatives`` uniform draws instead of
    # all items, except in the last ``full_share`` of the training.
    item_loss: ItemLoss = "softmax"
    negatives: int = 1024
    full_share: float = 0.0
    # t of gBCE.
    gbce_calibration: float = 0.75
    # What counts alike in the item loss: a batch holds sequences of like length and its loss is a
    # mean, by which an event among short sequences counts for more than one among long ones.
    # "events" undoes that, as suits a test that asks for every next item.
    counted: Counted = "sequences"
    # Share of each target's probability that is spread over all items.
    label_smoothing: float = 0.0
    # Share of the sessions after which, counted from the newest, a session's weight in the item
    # loss halves; 0: all weigh the same.
    recency_halving: float = 0.0
    # Share of the averaged weights that stays at each step; the average is what is measured and
    # saved. 0: no average.
    averaging: float = 0.0
    # Share of input items replaced by "no item".
    mask_share: float = 0.0
    # Share of input items replaced by one that often stands beside them.
    substitute_share: float = 0.0
    # Weight and temperature of the term that pulls two changed views of a sequence together: each
    # is cropped, masked or shuffled, to or by the share ``view_share``.
    contrastive_weight: float = 0.0
    contrastive_temperature: float = 0.1
    view_share: float = 0.6
    # Weight of the item loss on inputs that are moved by ``adversarial_size`` for the worse.
    adversarial_weight: float = 0.0
    adversarial_size: float = 0.1
    # Of the recurrence and of a full softmax's logits. "bfloat16" pays where the processor has it,
    # and costs several times more where it has not.
    precision: Precision = "float32"
    # Compute a Transformer's blocks anew in the backward pass: less memory, a third more time.
    checkpointing: bool = False
    # Share of input items replaced by a random cold bucket, so that the buckets learn something.
    cold_share: float = 0.01
    # Weight of the action, intent and gap losses beside the item loss.
    head_weight: float = 0.1
    # Hidden units of a GRU that read no items, and are all that next actions and gaps come from.
    behaviour_units: int = 0
    # Whether those losses stop at the hidden state; None: only where the log has one action.
    detach_heads: bool | None = None
    seed: int = 1
    # More than one pays on an idle machine only: OpenMP's threads wait by spinning, and beside any
    # busy process two were slower than one (unless OMP_WAIT_POLICY=passive is in the environment).
    threads: int = 1
    # Batches between two saved states, from which a killed run goes on.
    save_every: int = 500

    def __post_init__(self) -> None:
        check_bounds(self, _BOUNDS)
        self._check_epochs()
        self._check_held_out()

    def _check_epochs(self) -> None:
        if self.pretrain_epochs and self.net != "transformer":
            raise ConfigError(
                f"pretrain_epochs={self.pretrain_epochs} is a Transformer's, the net is "
                f"{self.net!r}; set net=transformer or pretrain_epochs=0"
            )
        if self.pretrain_epochs and self.pretrain_epochs >= self.epochs:
            raise ConfigError(
                f"pretrain_epochs={self.pretrain_epochs} are among the epochs={self.epochs} and "
                "must leave at least one to predict in"
            )
        if self.snapshots and (self.epochs % self.snapshots or (self.holds_out and self.patience)):
            raise ConfigError(
                f"snapshots={self.snapshots} are taken at equal distances: epochs={self.epochs} "
                "must be a multiple of them, and where something is held out patience must be 0"
            )

    def _check_held_out(self) -> None:
        if self.leave_one_out and self.held_out:
            raise ConfigError(
                f"leave_one_out holds out last items, held_out={self.held_out:g} newest sessions; "
                "set one of the two"
            )
        if self.leave_one_out and self.churn_days:
            raise ConfigError(
                f"churn_days={self.churn_days:g} asks who comes back, and leave_one_out hides each "
                "user's last item, so that nobody seems to; hold out the newest sessions instead: "
                "leave_one_out=false and held_out=0.1, or a folder that is prepared by time"
            )

    @property
    def holds_out(self) -> bool:
        """Whether a part of the log is kept from a first training, to measure on."""
        return self.leave_one_out or self.held_out > 0

    @property
    def is_probe(self) -> bool:
        """Whether the weights that are saved have not seen what is held out."""
        return self.holds_out and not self.refit

    @property
    def net_shape(self) -> NetShape:
        churn: tuple[Task, ...] = ("churn",) if self.churn_days else ()
        promotion: tuple[Task, ...] = ("promotion",) if self.promotions else ()
        return NetShape(
            name=self.net,
            layers=self.layers,
            heads=self.heads,
            horizon=self.horizon,
            tasks=churn + promotion,
            churn_ms=round(self.churn_days * DAY_MS),
        )

    def with_tasks(self, net: NetShape) -> "TrainConfig":
        """The settings with the tasks of a net, too; their own churn wins."""
        return msgspec.structs.replace(
            self,
            churn_days=self.churn_days or net.churn_ms / DAY_MS,
            promotions=self.promotions or "promotion" in net.tasks,
        )


def parse_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """``["epochs=3"]`` to ``{"epochs": "3"}``; raises ConfigError for anything else."""
    parsed: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{pair!r} is no setting; write KEY=VALUE, for example epochs=3")
        if key.strip() in parsed:
            raise ConfigError(f"{key.strip()} is set twice; keep one of the two")
        parsed[key.strip()] = value.strip()
    return parsed


def with_settings(settings: Settings, texts: Mapping[str, str]) -> Settings:
    """A copy with some fields given as text, each read as its field's type."""
    known = {field.name: field for field in msgspec.structs.fields(settings)}
    changes: dict[str, Any] = {}
    for key, text in texts.items():
        if key not in known:
            raise ConfigError(f"unknown setting {key!r}; the known ones are {', '.join(known)}")
        wanted = known[key].type
        is_nothing = text.lower() == "none" and type(None) in get_args(wanted)
        try:
            changes[key] = msgspec.convert("null" if is_nothing else text, wanted, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{key}={text}: {error}") from None
    return msgspec.structs.replace(settings, **changes)
