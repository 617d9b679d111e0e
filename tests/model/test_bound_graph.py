"""Buffers of a fixed size, bound once per number of rows, and only to a graph of their shapes."""

import pytest

from model.bound_graph import ALIGNMENT_BYTES, BoundGraph, SessionError, buffer
from model.graph_builder import GraphBuilder


def doubled() -> bytes:
    graph = GraphBuilder()
    value = graph.input("value", "float32", "B", 3)
    graph("Add", value, value, name="doubled")
    graph.output("doubled", "float32", "B", 3)
    return graph.model("doubled", {"of": "a test"}).SerializeToString()  # type: ignore[no-any-return]


def test_rows_outside_a_call_change_nothing() -> None:
    value, twice = buffer("float32", 9, 3), buffer("float32", 9, 3)
    graph = BoundGraph(doubled(), {"value": value}, {"doubled": twice})
    value[:] = 1
    for rows in (4, 2, 4):
        twice[:] = 0
        graph.run(rows)
        assert twice[:, 0].tolist() == [2.0] * rows + [0.0] * (9 - rows)
    assert graph.metadata == {"of": "a test"}


def test_every_buffer_begins_alike() -> None:
    arrays = [buffer("float16", rows, 7) for rows in range(1, 20)]
    assert {array.ctypes.data % ALIGNMENT_BYTES for array in arrays} == {0}


@pytest.mark.parametrize(
    ("name", "dtype", "width"),
    [("other", "float32", 3), ("value", "int32", 3), ("value", "float32", 4)],
)
def test_a_graph_of_other_shapes_is_refused(name: str, dtype: str, width: int) -> None:
    buffers = {name: buffer(dtype, 9, width)}, {"doubled": buffer("float32", 9, 3)}
    with pytest.raises(SessionError, match="spec asks for"):
        BoundGraph(doubled(), *buffers)


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(SessionError, match=r"ONNX Runtime .* cannot open"):
        BoundGraph(b"no graph", {}, {})
