"""The notation writes what ONNX Runtime runs, and sums rows the same wherever they stand."""

import numpy as np
import pytest

from model.graph_builder import GraphBuilder
from model.runtime import ort


def run(graph: GraphBuilder, outputs: list[str], x: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    content = graph.model("test", {"name": "value"}).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"name": "value"}
    return session.run(outputs, {"x": x})


@pytest.mark.parametrize("width", [1, 7, 9, 16, 30, 129, 160])
def test_a_row_has_the_same_sum_at_any_place(width: int) -> None:
    graph = GraphBuilder()
    total = graph.row_sums(graph.input("x", "float32", "B", width), width)
    graph.output(total, "float32", "B", 1)
    rows = np.random.default_rng(width).random((67, width), dtype=np.float32)
    (whole,) = run(graph, [total], rows)
    np.testing.assert_allclose(whole[:, 0], rows.sum(axis=1, dtype=np.float64), rtol=1e-6)
    for size in (1, 2, 3, 5, 64):
        for start in (0, 1, 2, 3):
            # A copy, because a view would keep the address that the row had in the whole.
            (part,) = run(graph, [total], rows[start : start + size].copy())
            np.testing.assert_array_equal(part, whole[start : start + size])


def test_split_top_k_and_names() -> None:
    graph = GraphBuilder()
    left, right = graph.split(graph.input("x", "float32", "B", 5), [2, 3])
    best, places = graph.top_k(right, 2)
    least, _ = graph.top_k(right, 1, largest=False)
    graph("Neg", left, name="negated")
    graph.cast(places, "int32", name="places")
    for name, dtype in (("negated", "float32"), (best, "float32"), (least, "float32")):
        graph.output(name, dtype, "B", "n")
    graph.output("places", "int32", "B", "n")
    x = np.array([[1, 2, 5, 3, 5]], dtype=np.float32)
    negated, found, smallest, where = run(graph, ["negated", best, least, "places"], x)
    assert negated.tolist() == [[-1, -2]]
    assert found.tolist() == [[5, 5]]
    assert where.tolist() == [[0, 2]]
    assert smallest.tolist() == [[3]]


def test_a_constant_keeps_its_shape_and_takes_the_type() -> None:
    graph = GraphBuilder()
    x = graph.input("x", "float32", "B")
    total = graph("Add", x, graph.constant(0.5))
    graph.output(total, "float32", "B")
    (found,) = run(graph, [total], np.zeros(3, dtype=np.float32))
    assert found.tolist() == [0.5] * 3
