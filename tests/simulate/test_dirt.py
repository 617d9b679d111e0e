# ruff: noqa: S311 (a simulation)

from collections import Counter
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream_app.simulate.click import Click
from stream_app.simulate.dirt import soiled

CLICK = Click("e", "u", "s", "i", "view", 1_700_000_000_000)


@given(st.integers())
def test_dirt_is_one_of_three_things_and_loses_nothing(seed: int) -> None:
    arrivals = soiled(CLICK, Random(seed))
    changed = [
        name
        for name in Click.__struct_fields__
        if getattr(arrivals[0].click, name) != getattr(CLICK, name)
    ]
    if len(arrivals) == 2:
        assert [arrival.click for arrival in arrivals] == [CLICK, CLICK]
        assert arrivals[0].delay_ms == 0 < arrivals[1].delay_ms < 30_000
    elif arrivals[0].delay_ms:
        assert not changed
        assert arrivals[0].delay_ms < 1_200_000
    else:
        assert len(changed) == 1
        assert arrivals[0].click.event_id == "e"


def test_all_of_it_happens() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(2_000):
        arrivals = soiled(CLICK, Random(seed))
        (first, *more) = arrivals
        if more:
            kinds["twice"] += 1
        elif first.delay_ms:
            kinds["late"] += 1
        else:
            kinds["broken" if msgspec.json.encode(first.click) else ""] += 1
    assert min(kinds[kind] for kind in ("twice", "late", "broken")) > 300
