"""The choice of a preset follows the log's traits; every preset is a valid configuration."""

import msgspec
import numpy as np
import pytest
from hypothesis import given

from model.config import ConfigError
from model.log import EventLog
from model.presets import (
    COSTLY_SCORES,
    HOPELESS_SCORES,
    LAST_FULL_SHARE,
    PRESETS,
    SMALL_HISTORIES,
    SMALL_TARGETS,
    LogTraits,
    affordable,
    preset_for,
    suited,
    traits_of,
    with_behaviour,
)
from tests.model.logs import learnable_log, log_of, logs, spec_of

SPEC = spec_of()


def test_auto_looks_at_size_and_repeats() -> None:
    users, sessions = spec_of(reset=False), spec_of(reset=True)
    untimed = msgspec.structs.replace(users, gap_edges_ms=())
    for targets, share, spec, name in (
        (SMALL_TARGETS - 1, 0.5, users, "small"),
        (SMALL_TARGETS, 0.5, users, "sessions"),
        (SMALL_TARGETS, 0.0, users, "histories"),
        (SMALL_TARGETS - 1, 0.0, users, "histories"),
        (SMALL_HISTORIES - 1, 0.0, users, "small"),
        (SMALL_HISTORIES - 1, 0.0, untimed, "few_histories"),
        (SMALL_HISTORIES, 0.0, untimed, "histories"),
        (SMALL_HISTORIES - 1, 0.5, untimed, "small"),
        (SMALL_TARGETS, 0.0, sessions, "sessions"),
        (SMALL_TARGETS - 1, 0.0, sessions, "small"),
    ):
        assert suited(LogTraits(item_targets=targets, repeat_share=share), spec) == name


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_found_by_name(name: str) -> None:
    assert preset_for(name, learnable_log(SPEC), SPEC) is PRESETS[name]


def test_auto_finds_one_and_the_name_is_part_of_no_choice() -> None:
    assert preset_for("auto", learnable_log(SPEC), SPEC) is PRESETS["small"]


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
    assert with_behaviour(recipe, log, many).behaviour_units == 3
    assert with_behaviour(recipe, log, few) == recipe
    assert with_behaviour(PRESETS["histories"], log, many) == PRESETS["histories"]
    silent = msgspec.structs.replace(log, action=np.full_like(log.action, 2))
    assert with_behaviour(recipe, silent, many) == recipe


def test_what_is_asked_for_counts_every_click_of_a_session_but_one_purchase_of_a_user() -> None:
    counted = {name: PRESETS[name].counted for name in ("sessions", "histories")}
    assert counted == {"sessions": "events", "histories": "sequences"}


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'yoochoose'; choose one of auto, sessions, histories"):
        preset_for("yoochoose", learnable_log(SPEC), SPEC)


def test_traits_by_hand() -> None:
    cold, none = SPEC.item_count, SPEC.no_item
    log = log_of([[[(0, 2), (1, 2), (0, 2), (cold, 2), (none, 2)]], [[(0, 2), (0, 2)]]], SPEC)
    assert traits_of(log, SPEC) == LogTraits(item_targets=3, repeat_share=1 - 3 / 5)


@given(logs(SPEC))
def test_any_log_has_traits(log: EventLog) -> None:
    traits = traits_of(log, SPEC)
    assert 0 <= traits.repeat_share <= 1
    assert traits.item_targets <= log.events
    assert not np.isnan(traits.repeat_share)
