"""Random events keep to the spec, and a seed names them."""

import numpy as np

from model.spec import Tokens
from model.stand_in import random_tokens
from tests.tiny_model import tiny_spec


def test_every_code_comes_and_none_is_outside() -> None:
    spec = tiny_spec(features=("a", "b", "c"))
    tokens = random_tokens(spec, rows=400, length=3, seed=1)
    for step in tokens:
        assert set(step.item) == set(range(spec.input_count))
        assert set(step.action) == set(range(len(spec.actions)))
        assert set(step.gap) == set(range(spec.gap_count))
        assert step.dense.shape == (400, 3)
        assert np.isfinite(step.dense).all()


def test_a_seed_names_the_events() -> None:
    def columns(seed: int) -> list[bytes]:
        (step,) = random_tokens(tiny_spec(features=("a",)), rows=9, length=1, seed=seed)
        return [getattr(step, name).tobytes() for name in Tokens.__struct_fields__]

    assert columns(1) == columns(1)
    assert columns(1) != columns(2)
