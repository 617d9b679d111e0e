"""Buffers of a fixed size, bound once per batch size, and only to the graph of their model."""

import numpy as np
import pytest

from model import graph
from model.session import ALIGNMENT_BYTES, CALL_ROWS, SessionError, StepSession, rows_per_call
from model.spec import Memory
from model.stand_in import random_tokens
from tests.tiny_model import random_weights, tiny_spec

SPEC = tiny_spec(features=("a", "b"))


@pytest.fixture(scope="module")
def content() -> bytes:
    return graph.build(SPEC, random_weights(SPEC), b"12345678")


def test_rows_outside_a_call_change_nothing(content: bytes) -> None:
    session = StepSession(content, SPEC)
    (tokens,) = random_tokens(SPEC, rows=9, length=1, seed=0)
    memory = Memory(np.zeros((9, 8), np.float16), np.zeros(9, np.float32))
    session.run(tokens, memory, 0, 9)
    whole = session.scores[:9].copy()
    session.run(tokens, memory, 4, 6)
    np.testing.assert_array_equal(session.scores[:2], whole[4:6])
    np.testing.assert_array_equal(session.scores[2:9], whole[2:])


def test_every_buffer_begins_alike(content: bytes) -> None:
    sessions = [StepSession(content, SPEC) for _ in range(5)]
    arrays = [array for one in sessions for array in (one.scores, one.new_hidden, one.top_items)]
    assert {array.ctypes.data % ALIGNMENT_BYTES for array in arrays} == {0}


def test_the_graph_says_what_it_was_built_of(content: bytes) -> None:
    metadata = StepSession(content, SPEC).metadata
    assert metadata == {"format": "1", "fingerprint": b"12345678".hex()}


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
def test_a_graph_of_other_shapes_is_refused(content: bytes, other: object) -> None:
    with pytest.raises(SessionError, match="spec asks for"):
        StepSession(content, other)  # type: ignore[arg-type]


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(SessionError, match=r"ONNX Runtime .* cannot open"):
        StepSession(b"no graph", SPEC)


@pytest.mark.parametrize("items", [1, 30, 17_000, 500_000])
def test_more_items_mean_fewer_rows_a_call(items: int) -> None:
    fewest, most = CALL_ROWS
    rows = rows_per_call(tiny_spec(item_count=items, top_k=1))
    assert fewest <= rows <= most
    assert rows <= rows_per_call(tiny_spec(item_count=1, top_k=1))
