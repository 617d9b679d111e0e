"""Scores of all items for a batch of queries, as a part of an ONNX graph: the best K and log Z.

A scan takes unit queries [B, H] and the items' vectors [V, H], which hold the logit scale already:
logits are plain dot products. Every scan is row-wise: a row's result has the same bits in any
batch.
"""

from typing import NamedTuple

import numpy as np

from model.graph_builder import GraphBuilder
from model.spec import Floats

# Up to this scale no maximum has to be subtracted before exp(): exp(64) * 2**31 items fit float32.
MAX_LOGIT_SCALE = 64.0

# Items of neighbouring codes form a group: the best K items lie in the K groups with the best
# maxima. At 17,000 items 10 us a row instead of 19 for a TopK over all (measured, K = 20, B = 64).
GROUP = 32
GROUPED_FROM = 1_024


class Scan(NamedTuple):
    """Names of graph values."""

    top_items: str  # int64 [B, K], best first, ties by lowest code
    top_logits: str  # [B, K]
    log_z: str  # [B, 1]


class Candidates(NamedTuple):
    """Names of graph values: items that were looked at closely, in the order of their codes."""

    scores: str  # [B, n]
    codes: str  # int64 [B, n]


def exact_scan(graph: GraphBuilder, queries: str, vectors: Floats, top_k: int) -> Scan:
    """Every item in float32."""
    if len(vectors) < GROUPED_FROM:
        logits = graph("MatMul", queries, graph.constant(vectors.T))  # [B, V]
        top_logits, codes = graph.top_k(logits, top_k)
        return Scan(codes, top_logits, log_of_sum(graph, graph("Exp", logits)))
    grouped, rest = whole_groups(vectors)
    logits = graph("MatMul", queries, graph.constant(grouped.T))  # [B, GROUP * groups]
    parts = [graph.row_sums(graph("Exp", logits), len(grouped))]
    candidates = in_best_groups(graph, logits, len(grouped) // GROUP, top_k)
    if len(rest):
        rest_logits = graph("MatMul", queries, graph.constant(rest.T))  # [B, V % GROUP]
        parts.append(graph("Exp", rest_logits))
        candidates = with_rest(graph, candidates, rest_logits, len(vectors))
    return best_of(graph, candidates, top_k, log_of_sum(graph, *parts))


def in_best_groups(graph: GraphBuilder, scores: str, groups: int, wanted: int) -> Candidates:
    """The items of the ``wanted`` best groups, from scores [B, GROUP * groups].

    None of the best ``wanted`` items lies in another group: each group chosen before its own has
    a maximum that is larger, or as large with a lower code.
    """
    wanted = min(wanted, groups)
    shaped = graph("Reshape", scores, graph.constant([0, groups, GROUP], "int64"))
    maxima = graph("ReduceMax", shaped, graph.constant([2], "int64"), keepdims=0)  # [B, groups]
    _, best = graph.top_k(maxima, wanted)
    chosen, _ = graph.top_k(best, wanted, largest=False)  # [B, wanted], rising
    codes = np.arange(groups * GROUP).reshape(groups, GROUP)
    column = graph("Unsqueeze", chosen, graph.constant([2], "int64"))
    flat = graph.constant([0, wanted * GROUP], "int64")
    return Candidates(
        graph("Reshape", graph("GatherND", shaped, column, batch_dims=1), flat),
        graph("Reshape", graph("Gather", graph.constant(codes, "int64"), chosen), flat),
    )


def with_rest(
    graph: GraphBuilder, candidates: Candidates, rest_logits: str, count: int
) -> Candidates:
    """Candidates joined by the items that fill no group; theirs are the highest codes."""
    codes = graph.constant(np.arange(count - count % GROUP, count)[None], "int64")
    repeated = graph("Expand", codes, graph("Shape", rest_logits))
    return Candidates(
        graph("Concat", candidates.scores, rest_logits, axis=1),
        graph("Concat", candidates.codes, repeated, axis=1),
    )


def best_of(graph: GraphBuilder, candidates: Candidates, top_k: int, log_z: str) -> Scan:
    top_logits, positions = graph.top_k(candidates.scores, top_k)
    return Scan(graph("GatherElements", candidates.codes, positions, axis=1), top_logits, log_z)


def log_of_sum(graph: GraphBuilder, *parts: str) -> str:
    """log of the sum of all columns of all parts, [B, 1].

    ReduceLogSum, because it takes the logarithm row by row. ORT's Log changes bits with the batch
    size: the last elements of a buffer that is no multiple of the vector width go another way.
    """
    terms = graph("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    return graph("ReduceLogSum", terms, graph.constant([1], "int64"), keepdims=1)


def whole_groups(vectors: Floats) -> tuple[Floats, Floats]:
    """The vectors of all whole groups, and the last ``V % GROUP``."""
    count = len(vectors) - len(vectors) % GROUP
    return vectors[:count], vectors[count:]
