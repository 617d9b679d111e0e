"""The served engine: same bits in any batch, refusals that say what to do, no torch."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from model.stand_in import random_tokens
from model.spec import Advance, Memory, Tokens

MOST_ROWS = 300

ARRAYS = ("item_surprise", "action_surprise", "top_items", "top_logp", "action_logp", "cart")


def arrays_of(result: Advance) -> dict[str, np.ndarray]:
    names = [name for name in Advance.__struct_fields__ if name != "memory"]
    outputs = {name: getattr(result, name) for name in names}
    return outputs | {"hidden": result.memory.hidden, "log_z": result.memory.log_z}


def rows_of(tokens: Tokens, memory: Memory, rows: np.ndarray) -> tuple[Tokens, Memory]:
    picked = Tokens(*(getattr(tokens, name)[rows] for name in Tokens.__struct_fields__))
    return picked, Memory(memory.hidden[rows], memory.log_z[rows])


# Widths and catalogues that are no multiple of a vector register, or of a group of items.
SHAPES = [
    {"scan": "exact", "item_count": 30, "hidden_width": 8, "features": ("a", "b", "c")},
    {"scan": "exact", "item_count": 33, "hidden_width": 7, "gap_edges_ms": ()},
    {"scan": "exact", "item_count": 1_100, "hidden_width": 33, "features": ("a",)},
    {"scan": "int8", "item_count": 1_100, "hidden_width": 33, "features": ("a",)},
    {"scan": "int8", "item_count": 1_056, "hidden_width": 16},
]


@pytest.mark.parametrize("memory_dtype", ["float16", "float32"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s['scan']}_{s['item_count']}")
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_row_has_the_same_bits_in_any_batch(
    tiny_engine_with: Callable[..., OnnxEngine],
    shape: dict[str, object],
    memory_dtype: str,
    data: st.DataObject,
) -> None:
    engine = tiny_engine_with(memory_dtype=memory_dtype, **shape)
    *before, tokens = random_tokens(engine.spec, rows=MOST_ROWS, length=3, seed=5)
    memory = engine.initial(MOST_ROWS)
    for earlier in before:
        memory = engine.advance(earlier, memory).memory
    whole = arrays_of(engine.advance(tokens, memory))
    size = data.draw(st.integers(1, MOST_ROWS))
    seed = data.draw(st.integers(0, 2**31))
    rows = np.random.default_rng(seed).permutation(MOST_ROWS)[:size]
    part = arrays_of(engine.advance(*rows_of(tokens, memory, rows)))
    for name, wanted in whole.items():
        np.testing.assert_array_equal(part[name], wanted[rows], err_msg=name)
