"""A scan alone in ONNX Runtime, for the tests of the scans."""

from collections.abc import Callable

import numpy as np

from model.graph_builder import GraphBuilder
from model.runtime import ort
from model.scan import Scan
from model.spec import Floats, Ints

Found = tuple[Ints, Floats, Floats]


def run_scan(
    build: Callable[[GraphBuilder, str, Floats], Scan], vectors: Floats, queries: Floats
) -> Found:
    """Top items [B, K], top logits [B, K] and log Z [B] of the scan that ``build`` adds."""
    graph = GraphBuilder()
    scan = build(graph, graph.input("queries", "float32", "B", vectors.shape[1]), vectors)
    for value, dtype in zip(scan, ("int64", "float32", "float32"), strict=True):
        graph.output(value, dtype, "B", "n")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = graph.model("scan", {}).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    items, logits, log_z = session.run(list(scan), {"queries": queries})
    return items, logits, log_z[:, 0]


def wanted(vectors: Floats, queries: Floats, top_k: int) -> Found:
    """The same in numpy and float64; of equal scores the lowest code first."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    top = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    log_z = np.logaddexp.reduce(scores, axis=1)
    return top, np.take_along_axis(scores, top, axis=1), log_z
