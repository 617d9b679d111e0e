"""Settings given as text: read as their fields' types, or refused with what is allowed."""

from typing import Literal

import msgspec
import pytest

from model.config import ConfigError, TrainConfig, parse_pairs, with_settings


def test_every_setting_reads_back_from_its_text() -> None:
    config = TrainConfig()
    for field in msgspec.structs.fields(config):
        value = getattr(config, field.name)
        text = "none" if value is None else str(value).lower()
        assert getattr(with_settings(config, {field.name: text}), field.name) == value


def test_none_is_a_word_where_the_field_knows_it() -> None:
    class Shape(msgspec.Struct, frozen=True):
        features: Literal["auto", "none"] = "auto"
        limit: int | None = 3

    assert with_settings(Shape(), {"features": "none", "limit": "none"}) == Shape("none", None)


def test_settings_change_their_field_alone() -> None:
    changed = with_settings(TrainConfig(), parse_pairs(["learning_rate = 1e-3", "refit=false"]))
    assert changed == msgspec.structs.replace(TrainConfig(), learning_rate=1e-3, refit=False)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["epoch=3"], "unknown setting 'epoch'; the known ones are net, layers, "),
        (["epochs"], "write KEY=VALUE"),
        (["=3"], "write KEY=VALUE"),
        (["epochs=1", "epochs=2"], "set twice"),
        (["epochs=1.5"], "epochs=1.5: Expected `int`"),
        (["epochs=-1"], "epochs must be at least 0, got -1"),
        (["epochs=none"], "epochs=none"),
        (["learning_rate=nan"], "learning_rate must be above 0 and finite"),
        (["learning_rate=inf"], "learning_rate must be above 0 and finite"),
        (["held_out=1"], r"held_out must be in \[0, 1\), got 1.0"),
        (["input_dropout=-0.1"], "input_dropout must be in"),
        (["head_weight=-1"], "head_weight must be 0 or more"),
        (["max_length=1"], "max_length must be at least 2"),
        (["leave_one_out=true", "churn_days=7"], "nobody seems to; hold out the newest sessions"),
    ],
)
def test_bad_settings_are_refused(pairs: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_settings(TrainConfig(), parse_pairs(pairs))
