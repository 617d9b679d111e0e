"""What does not fit is refused before it begins, with what would fit."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.capacity import CapacityError, check_fits, training_bytes
from model.config import TrainConfig
from model.spec import ModelSpec

CONFIG = TrainConfig()
SPEC = ModelSpec(name="large", item_count=10_000_000, hidden_width=128)
GIGABYTE = 1_000_000_000


def test_ten_million_items_need_more_than_a_small_machine_has() -> None:
    assert 30 * GIGABYTE < training_bytes(SPEC, CONFIG, 0) < 60 * GIGABYTE
    with pytest.raises(CapacityError, match=r"10,000,000 items of 128 .* there are 8\.0 GB; --set"):
        check_fits(SPEC, CONFIG, 1_000_000, 8 * GIGABYTE)


@given(st.integers(2, 64), st.sampled_from(["gru", "transformer"]), st.integers(0, 10**7))
def test_the_advice_can_be_followed(gigabytes: int, net: str, events: int) -> None:
    config = msgspec.structs.replace(CONFIG, net=net, averaging=0.9)
    memory = gigabytes * GIGABYTE
    if training_bytes(SPEC, config, events) <= memory:
        check_fits(SPEC, config, events, memory)
        return
    with pytest.raises(CapacityError) as refused:
        check_fits(SPEC, config, events, memory)
    advised = re.search(r"max_items=(\d+)", str(refused.value))
    assert advised is not None
    smaller = msgspec.structs.replace(SPEC, item_count=int(advised[1]))
    check_fits(smaller, config, events, memory)


def test_without_hope_a_larger_machine_is_asked_for() -> None:
    with pytest.raises(CapacityError, match="a machine with more memory"):
        check_fits(SPEC, CONFIG, 0, GIGABYTE // 2)
