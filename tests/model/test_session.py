"""The served graphs over shared buffers, and only those of their model."""

import numpy as np
import pytest

from model import graph
from model.bound_graph import SessionError
from model.served import Graphs
from model.session import CALL_ROWS, StepSession, rows_per_call
from model.stand_in import random_tokens
from tests.tiny_model import random_weights, tiny_spec

SPEC = tiny_spec(features=("a", "b"))


@pytest.fixture(scope="module")
def graphs() -> Graphs:
    return graph.build(SPEC, random_weights(SPEC), b"12345678")


def test_a_part_of_the_rows_is_read_out_as_with_all(graphs: Graphs) -> None:
    session = StepSession(graphs, SPEC)
    (tokens,) = random_tokens(SPEC, rows=9, length=1, seed=0)
    before, after = session.recur(tokens, np.zeros((9, 8), np.float16), [9])
    whole = session.read_out(tokens, before, after)
    part = session.read_out(tokens.rows(slice(4, 6)), before[4:6], after[4:6])
    for found, wanted in zip(part, whole, strict=True):
        np.testing.assert_array_equal(found, wanted[4:6])
    stepped, *told = session.step(tokens, before)
    np.testing.assert_array_equal(stepped, after)
    for found, wanted in zip(told, whole, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_round_meets_what_the_one_before_it_left(graphs: Graphs) -> None:
    session = StepSession(graphs, SPEC)
    (tokens,) = random_tokens(SPEC, rows=9, length=1, seed=0)
    hidden = np.full((4, 8), 0.5, np.float16)
    before, after = session.recur(tokens, hidden, [4, 3, 2])
    np.testing.assert_array_equal(before[:4], hidden)
    np.testing.assert_array_equal(before[4:7], after[:3])
    np.testing.assert_array_equal(before[7:], after[4:6])


def test_the_graphs_say_what_they_were_built_of(graphs: Graphs) -> None:
    told = {"format": "2", "fingerprint": b"12345678".hex()}
    assert StepSession(graphs, SPEC).metadata == (told, told)


@pytest.mark.parametrize(
    "other",
    [
        tiny_spec(features=("a",)),
        tiny_spec(),
        tiny_spec(features=("a", "b"), hidden_width=9),
        tiny_spec(features=("a", "b"), memory_dtype="float32"),
        tiny_spec(features=("a", "b"), top_k=5),
    ],
    ids=["features", "no features", "width", "type", "top_k"],
)
def test_graphs_of_other_shapes_are_refused(graphs: Graphs, other: object) -> None:
    with pytest.raises(SessionError, match="spec asks for"):
        StepSession(graphs, other)  # type: ignore[arg-type]


@pytest.mark.parametrize("items", [1, 30, 17_000, 500_000])
def test_more_items_mean_fewer_rows_a_call(items: int) -> None:
    fewest, most = CALL_ROWS
    rows = rows_per_call(tiny_spec(item_count=items, top_k=1))
    assert fewest <= rows <= most
    assert rows <= rows_per_call(tiny_spec(item_count=1, top_k=1))
