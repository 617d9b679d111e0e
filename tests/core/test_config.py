"""The core's config is checked once, and says which setting is wrong."""

from math import inf, nextafter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.config import ConfigError, CoreConfig
from tests.core.streams import KEY

RANGES: dict[str, tuple[float, float]] = {
    "max_event_bytes": (64, 1 << 20),
    "max_key_bytes": (16, 4096),
    "future_ms": (0, 86_400_000),
    "allowed_lateness_ms": (0, 86_400_000),
    "max_users_per_partition": (1, 50_000_000),
    "user_ttl_ms": (86_400_000, 315_360_000_000),
    "burst_ms": (1, 3_600_000),
    "alert_rate": (1e-6, 0.5),
    "alert_close_after_events": (1, 100),
    "reservoir_size": (256, 1 << 20),
    "max_transitions": (16, 1_000_000),
}


def config(**fields: Any) -> CoreConfig:
    return CoreConfig(**({"pseudonym_key": KEY} | fields))


def test_every_setting_has_a_range_here_or_is_no_number() -> None:
    assert {*CoreConfig.__struct_fields__} == {*RANGES, "pseudonym_key", "fields"}


@pytest.mark.parametrize("name", RANGES)
def test_both_ends_of_a_range_are_allowed_and_nothing_beyond(name: str) -> None:
    low, high = RANGES[name]
    assert getattr(config(**{name: low}), name) == low
    assert getattr(config(**{name: high}), name) == high
    for value in (nextafter(low, -inf), nextafter(high, inf), -1, float("nan"), inf):
        with pytest.raises(ConfigError, match=f"^{name} must be .* got "):
            config(**{name: value})


@given(key=st.binary(max_size=80))
def test_a_pseudonym_key_has_16_to_64_bytes_and_is_never_shown(key: bytes) -> None:
    if 16 <= len(key) <= 64:
        assert config(pseudonym_key=key).pseudonym_key == key
    else:
        with pytest.raises(ConfigError) as caught:
            config(pseudonym_key=key)
        assert str(caught.value) == f"pseudonym_key must be 16 to 64 bytes long, got {len(key)}"


def test_unknown_settings_are_refused_and_none_can_be_changed() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `burst`"):
        msgspec.convert({"pseudonym_key": KEY, "burst": 1}, CoreConfig)
    with pytest.raises(AttributeError):
        config().burst_ms = 5  # type: ignore[misc]
    with pytest.raises(ConfigError):
        msgspec.structs.replace(config(), burst_ms=0)
