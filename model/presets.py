"""Named ways to train, and the choice among them by what a log is like, never by its name."""

from collections.abc import Mapping
from math import log2
from types import MappingProxyType

import msgspec
import numpy as np

from model.config import ConfigError, TrainConfig
from model.data import NONE, memory_starts, stretch_of, targets_of
from model.log import EventLog
from model.spec import ModelSpec

AUTO = "auto"

# Of a training by a sampled softmax, the end that looks at all items.
LAST_FULL_SHARE = 0.2

PRESETS: Mapping[str, TrainConfig] = MappingProxyType(
    {
        # Click sessions by the hundred thousand: what is learned in a few epochs holds for long,
        # and a second training, to choose their number, would double the time. Each of their next
        # clicks will be asked for, not only one of each session.
        "sessions": TrainConfig(
            epochs=7,
            item_loss="sampled",
            full_share=LAST_FULL_SHARE,
            input_dropout=0.25,
            hidden_dropout=0.25,
            counted="events",
        ),
        # The same with few events, to an item or in all, which a net learns by heart: more is
        # dropped, and few items are left out of a batch. The number of epochs is fixed: chosen by
        # MRR@20 it was 4 where recall rose until 20. Substitutes for input items cost MRR@20, and
        # still more dropout (``lasting``) was worth its epochs at 17,000 targets, not at 67,000.
        # Recall@20 and MRR@20 on the newest sessions of Serenade's training log and of slices of
        # Yoochoose's, after as many targets and events to an item, and those of "small" for 6 to 12
        # epochs and, from SMALL_TARGETS, of "sessions":
        #       4,000   3  0.297, 0.135  0.254, 0.116
        #      17,000   5  0.451, 0.210  0.414, 0.186
        #      38,000  52  0.723, 0.338  0.703, 0.331
        #      81,000   6  0.553, 0.280  0.504, 0.268
        #     178,000  17  0.633, 0.293  0.631, 0.286
        #     218,000  20  0.642, 0.299  0.643, 0.295
        "sparse_sessions": TrainConfig(
            epochs=7,
            patience=0,
            item_loss="sampled",
            negatives=4096,
            full_share=LAST_FULL_SHARE,
            input_dropout=0.4,
            hidden_dropout=0.4,
            counted="events",
        ),
        # Histories without repeats (purchases, ratings): each user's last item is held out, the
        # number of epochs is fixed, so that what is measured on it was never looked at before.
        "histories": TrainConfig(
            net="transformer",
            epochs=20,
            leave_one_out=True,
            patience=0,
            item_loss="sampled",
            negatives=1024,
            input_dropout=0.3,
            hidden_dropout=0.2,
            block_dropout=0.3,
        ),
        # Few such histories, without times, so that none is the newest: the same questions, of a
        # net that is served as it is, and that is no worse at this size.
        "few_histories": TrainConfig(
            epochs=20,
            leave_one_out=True,
            patience=0,
            batch_sequences=32,
            input_dropout=0.2,
            hidden_dropout=0.2,
        ),
        # Few events: many small steps, chosen on held-out sessions.
        "small": TrainConfig(
            epochs=30,
            held_out=0.1,
            patience=3,
            batch_sequences=32,
            input_dropout=0.2,
            hidden_dropout=0.2,
        ),
    }
)

# Fewer targets than these ask for more epochs; fewer than those, for many small steps.
SMALL_TARGETS = 150_000
TINY_TARGETS = 4_000
# With so few sequences a step is worth its time; and where next actions are foretold, which takes
# more steps, with half as many (of 128, 64, 32 and 16, measured at 21,000 targets).
LEAST_BATCH = 64
LEAST_ACTION_BATCH = 32
# What is dropped besides at a ninth of SMALL_TARGETS; at four ninths it is nothing yet.
MORE_DROPOUT = 0.1
SMALL_HISTORIES = 20_000
REPEAT_SHARE = 0.02
STREAM_HELD_OUT = 0.05

# Scores of an epoch of the full softmax: a core makes about 60 million a second, 128 numbers each.
COSTLY_SCORES = 15_000_000_000
HOPELESS_SCORES = 200_000_000_000

# Events to an item below which the next action is better foretold without items (measured at 2 and
# at 8), and the share of the hidden units that do so then: with more of them next items are
# foretold worse, with fewer rare actions never.
FEW_EVENTS = 20
# And those below which a log of any size is learned as a sparse one (measured at 17 and 20).
SPARSE_EVENTS = 25
BEHAVIOUR_SHARE = 0.3125


class LogTraits(msgspec.Struct, frozen=True):
    """What the choice of a preset looks at."""

    item_targets: int
    # Share of the events with an item that the memory has met before.
    repeat_share: float
    events_per_item: float


def traits_of(log: EventLog, spec: ModelSpec) -> LogTraits:
    """Count a log's traits."""
    known = log.item < spec.item_count
    memory = stretch_of(memory_starts(log, spec), log.events)[known]
    pairs = np.unique(memory * spec.item_count + log.item[known])
    return LogTraits(
        item_targets=int((targets_of(log, spec).item != NONE).sum()),
        repeat_share=1 - len(pairs) / max(1, int(known.sum())),
        events_per_item=log.events / spec.item_count,
    )


def is_of_histories(traits: LogTraits, spec: ModelSpec) -> bool:
    """Whether a log is one of users' histories, in which hardly an item comes twice: purchases or
    ratings, where the next item is asked among those that the user has not had."""
    return not spec.reset_at_session and traits.repeat_share < REPEAT_SHARE


def preset_for(name: str, log: EventLog, spec: ModelSpec) -> TrainConfig:
    """The settings of a preset; of the one that suits the log where ``name`` is ``auto``."""
    if name == AUTO:
        traits = traits_of(log, spec)
        name = suited(traits, spec)
        recipe = PRESETS[name]
        if name == "sparse_sessions":
            recipe = lasting(thorough(recipe, spec.item_count), traits.item_targets)
        recipe = affordable(recipe, traits.item_targets * spec.item_count)
        recipe = with_behaviour(recipe, log, spec)
        # A log with times is a stream's: its newest sessions calibrate the anomaly scores.
        is_stream = bool(spec.gap_edges_ms) and not recipe.holds_out
        return msgspec.structs.replace(recipe, held_out=STREAM_HELD_OUT) if is_stream else recipe
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; choose one of {', '.join([AUTO, *PRESETS])}")
    return PRESETS[name]


def lasting(recipe: TrainConfig, item_targets: int) -> TrainConfig:
    """The recipe with more epochs the fewer targets there are, by the root, and batches as much
    smaller, to a power of two: what is read in all becomes less by the root, and the steps hardly.
    Of few targets more is dropped, which epochs make up."""
    longer = max(1.0, SMALL_TARGETS / max(1, item_targets)) ** 0.5
    more = MORE_DROPOUT * min(1.0, max(0.0, longer / 1.5 - 1))
    dropout = round(recipe.input_dropout + more, 2)
    slower = (1 - recipe.input_dropout) / (1 - dropout)
    return msgspec.structs.replace(
        recipe,
        epochs=round(recipe.epochs * longer * slower),
        batch_sequences=max(LEAST_BATCH, 2 ** int(log2(recipe.batch_sequences / longer))),
        input_dropout=dropout,
        hidden_dropout=dropout,
    )


def thorough(recipe: TrainConfig, item_count: int) -> TrainConfig:
    """The recipe with all items in its loss, where a batch's sample would hold half of them."""
    if recipe.item_loss != "sampled" or item_count > 2 * recipe.negatives:
        return recipe
    return msgspec.structs.replace(recipe, item_loss="softmax", full_share=0.0)


def affordable(recipe: TrainConfig, scores: int) -> TrainConfig:
    """The recipe with an item loss that can be paid, where an epoch of the full softmax makes
    ``scores`` scores: a sampled one, with all items at the end as long as that takes no day."""
    if recipe.item_loss == "softmax" and scores >= COSTLY_SCORES:
        recipe = msgspec.structs.replace(recipe, item_loss="sampled", full_share=LAST_FULL_SHARE)
    if recipe.full_share and scores >= HOPELESS_SCORES:
        recipe = msgspec.structs.replace(recipe, full_share=0.0)
    return recipe


def with_behaviour(recipe: TrainConfig, log: EventLog, spec: ModelSpec) -> TrainConfig:
    """The recipe with hidden units that read no items, and for them smaller batches and a heads'
    weight of 1, where there are actions to foretell and too few events to an item to learn from it.
    A session's first event may have an action of its own: that says its place, and is nothing to
    foretell."""
    follows = np.ones(log.events, bool)
    follows[log.session_start[:-1]] = False
    has_actions = len(np.unique(log.action[follows])) > 1
    if not has_actions or recipe.net != "gru" or log.events >= FEW_EVENTS * spec.item_count:
        return recipe
    return msgspec.structs.replace(
        recipe,
        behaviour_units=round(BEHAVIOUR_SHARE * spec.hidden_width),
        batch_sequences=max(LEAST_ACTION_BATCH, recipe.batch_sequences // 2),
        # The items' loss does not move these units, and the heads' hardly moves the others.
        head_weight=max(1.0, recipe.head_weight),
    )


def suited(traits: LogTraits, spec: ModelSpec) -> str:
    """The name of the preset that suits a log with these traits."""
    if is_of_histories(traits, spec):
        if traits.item_targets >= SMALL_HISTORIES:
            return "histories"
        return "small" if spec.gap_edges_ms else "few_histories"
    if traits.item_targets < TINY_TARGETS:
        return "small"
    if traits.item_targets >= SMALL_TARGETS:
        return "sparse_sessions" if traits.events_per_item < SPARSE_EVENTS else "sessions"
    is_sparse = spec.reset_at_session or traits.events_per_item < FEW_EVENTS
    return "sparse_sessions" if is_sparse else "small"
