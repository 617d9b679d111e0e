"""The choice of a preset follows the log's traits; every preset is a valid configuration."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import ConfigError
from model.log import EventLog
from model.presets import (
    COSTLY_SCORES,
    FEW_EVENTS,
    HOPELESS_SCORES,
    LAST_FULL_SHARE,
    LEAST_ACTION_BATCH,
    LEAST_BATCH,
    MORE_DROPOUT,
    PRESETS,
    SMALL_HISTORIES,
    SMALL_TARGETS,
    SPARSE_EVENTS,
    STREAM_HELD_OUT,
    TINY_TARGETS,
    LogTraits,
    affordable,
    lasting,
    preset_for,
    suited,
    thorough,
    traits_of,
    with_behaviour,
)
from tests.model.logs import learnable_log, log_of, logs, spec_of

SPEC = spec_of()


def test_auto_looks_at_size_and_repeats() -> None:
    users, sessions = spec_of(reset=False), spec_of(reset=True)
    untimed = msgspec.structs.replace(users, gap_edges_ms=())
    many, few = SPARSE_EVENTS, FEW_EVENTS - 1
    for targets, share, events, spec, name in (
        (SMALL_TARGETS - 1, 0.5, FEW_EVENTS, users, "small"),
        (SMALL_TARGETS - 1, 0.5, few, users, "sparse_sessions"),
        (SMALL_TARGETS, 0.5, many, users, "sessions"),
        (SMALL_TARGETS, 0.5, many - 1, users, "sparse_sessions"),
        (TINY_TARGETS, 0.5, few, users, "sparse_sessions"),
        (TINY_TARGETS - 1, 0.5, few, users, "small"),
        (SMALL_TARGETS, 0.0, few, users, "histories"),
        (SMALL_TARGETS - 1, 0.0, few, users, "histories"),
        (SMALL_HISTORIES - 1, 0.0, few, users, "small"),
        (SMALL_HISTORIES - 1, 0.0, few, untimed, "few_histories"),
        (SMALL_HISTORIES, 0.0, few, untimed, "histories"),
        (SMALL_HISTORIES - 1, 0.5, many, untimed, "small"),
        (SMALL_TARGETS, 0.0, many, sessions, "sessions"),
        (SMALL_TARGETS, 0.0, many - 1, sessions, "sparse_sessions"),
        (SMALL_TARGETS - 1, 0.0, many, sessions, "sparse_sessions"),
        (TINY_TARGETS - 1, 0.0, many, sessions, "small"),
    ):
        traits = LogTraits(item_targets=targets, repeat_share=share, events_per_item=events)
        assert suited(traits, spec) == name


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_found_by_name(name: str) -> None:
    assert preset_for(name, learnable_log(SPEC), SPEC) is PRESETS[name]


def test_auto_finds_one_and_the_name_is_part_of_no_choice() -> None:
    assert preset_for("auto", learnable_log(SPEC), SPEC) is PRESETS["small"]


@given(st.integers(1, 10_000_000), st.integers(1, 10_000_000))
def test_fewer_targets_get_more_epochs_and_smaller_batches(one: int, other: int) -> None:
    recipe, (few, many) = PRESETS["sparse_sessions"], sorted((one, other))
    found = [lasting(recipe, targets) for targets in (few, many)]
    epochs = [each.epochs for each in found]
    assert epochs[0] >= epochs[1] >= recipe.epochs
    assert found[0].input_dropout >= found[1].input_dropout >= recipe.input_dropout
    assert found[0].hidden_dropout == found[0].input_dropout
    assert found[0].input_dropout <= recipe.input_dropout + MORE_DROPOUT
    # But for an epoch, by which the number is rounded.
    assert few * (epochs[0] - 1) <= many * epochs[1]
    sizes = [each.batch_sequences for each in found]
    assert LEAST_BATCH <= sizes[0] <= sizes[1] <= recipe.batch_sequences
    assert all(size.bit_count() == 1 for size in sizes)
    assert lasting(recipe, SMALL_TARGETS) == recipe


def test_few_events_an_item_are_learned_for_a_fixed_number_of_epochs() -> None:
    spec = spec_of(items=4_000, reset=True)
    log = learnable_log(spec, users=500)
    recipe = preset_for("auto", log, spec)
    targets = traits_of(log, spec).item_targets
    assert recipe.epochs == lasting(PRESETS["sparse_sessions"], targets).epochs
    assert (recipe.patience, recipe.held_out) == (0, STREAM_HELD_OUT)
    untimed = msgspec.structs.replace(spec, gap_edges_ms=())
    assert not preset_for("auto", log, untimed).holds_out


def test_few_items_are_all_looked_at() -> None:
    sampled = PRESETS["sparse_sessions"]
    found = thorough(sampled, 2 * sampled.negatives)
    assert (found.item_loss, found.full_share) == ("softmax", 0.0)
    assert thorough(sampled, 2 * sampled.negatives + 1) is sampled
    full = PRESETS["small"]
    assert thorough(full, 2) is full


def test_what_would_take_hours_is_sampled_and_sees_all_items_at_the_end() -> None:
    small, sessions = PRESETS["small"], PRESETS["sessions"]
    assert affordable(small, COSTLY_SCORES - 1) is small
    costly = affordable(small, COSTLY_SCORES)
    assert (costly.item_loss, costly.full_share) == ("sampled", LAST_FULL_SHARE)
    assert affordable(small, HOPELESS_SCORES).full_share == 0
    assert affordable(sessions, HOPELESS_SCORES - 1) is sessions
    assert affordable(sessions, HOPELESS_SCORES).full_share == 0
    histories = PRESETS["histories"]
    assert affordable(histories, HOPELESS_SCORES) is histories


def test_actions_are_foretold_without_items_that_have_few_events() -> None:
    many, few = spec_of(items=12, width=8), spec_of(items=2, width=8)
    recipe, log = PRESETS["small"], learnable_log(many, users=10)
    assert with_behaviour(recipe, log, many).behaviour_units == 2
    sparse = PRESETS["sparse_sessions"]
    found = with_behaviour(sparse, log, many)
    assert found.batch_sequences == sparse.batch_sequences // 2
    assert found.head_weight > sparse.head_weight
    assert with_behaviour(recipe, log, many).batch_sequences == LEAST_ACTION_BATCH
    assert with_behaviour(recipe, log, few) == recipe
    assert with_behaviour(PRESETS["histories"], log, many) == PRESETS["histories"]
    silent = msgspec.structs.replace(log, action=np.full_like(log.action, 2))
    assert with_behaviour(recipe, silent, many) == recipe
    opened = silent.action.copy()
    opened[log.session_start[:-1]] = 3
    placed = msgspec.structs.replace(log, action=opened)
    assert with_behaviour(recipe, placed, many) == recipe


def test_what_is_asked_for_counts_every_click_of_a_session_but_one_purchase_of_a_user() -> None:
    counted = {name: PRESETS[name].counted for name in ("sessions", "histories")}
    assert counted == {"sessions": "events", "histories": "sequences"}


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'yoochoose'; choose one of auto, sessions, sparse"):
        preset_for("yoochoose", learnable_log(SPEC), SPEC)


def test_traits_by_hand() -> None:
    cold, none = SPEC.item_count, SPEC.no_item
    log = log_of([[[(0, 2), (1, 2), (0, 2), (cold, 2), (none, 2)]], [[(0, 2), (0, 2)]]], SPEC)
    assert traits_of(log, SPEC) == LogTraits(
        item_targets=3, repeat_share=1 - 3 / 5, events_per_item=7 / SPEC.item_count
    )


@given(logs(SPEC))
def test_any_log_has_traits(log: EventLog) -> None:
    traits = traits_of(log, SPEC)
    assert 0 <= traits.repeat_share <= 1
    assert traits.item_targets <= log.events
    assert not np.isnan(traits.repeat_share)
