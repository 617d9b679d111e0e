"""Scores of all items for a batch of queries, as a part of an ONNX graph: the best K and log Z.

Every scan takes queries [B, H] (a unit vector times the logit scale), unit item directions [V, H],
and gives a ``Scan``. All of them are row-wise: a row's result has the same bits in any batch.
"""

from typing import NamedTuple

import numpy as np

from model.graph_builder import GraphBuilder
from model.spec import Floats

# exp() of a logit needs no maximum subtracted below this scale: exp(64) * 2**31 items fit float32.
MAX_LOGIT_SCALE = 64.0

# ORT's Log takes another path for the last elements of a buffer whose length is no multiple of
# its vector width; measured, [B, 1] and [B, 3] change bits with B, [B, 8] never does.
LOG_LANES = 8


class Scan(NamedTuple):
    """Names of graph values."""

    top_items: str  # int32 [B, K], best first, ties by lowest code
    top_logits: str  # [B, K]
    log_z: str  # [B, 1]


def exact_scan(graph: GraphBuilder, queries: str, directions: Floats, top_k: int) -> Scan:
    """Every item in float32."""
    logits = graph("MatMul", queries, graph.constant(directions.T))  # [B, V]
    top_logits, positions = graph.top_k(logits, top_k)
    log_z = log_of_sum(graph, graph("Exp", logits), directions.shape[0])
    return Scan(graph("Cast", positions, to=6), top_logits, log_z)


def log_of_sum(graph: GraphBuilder, terms: str, count: int) -> str:
    """log of each row's sum, [B, n] -> [B, 1]."""
    ones = graph.constant(np.ones((count, LOG_LANES)))
    logs = graph("Log", graph("MatMul", terms, ones))  # [B, LOG_LANES]
    return graph.split(logs, [1, LOG_LANES - 1])[0]
