"""The served graphs: one batched step of the GRU as two ONNX models, built node by node.

The recurrence makes the next memory; what a memory says, and how a token is priced by it, is read
out of any number of memories at once. The input projection is folded into tables (a row per item,
action and gap), so that a step costs three look-ups instead of three embeddings and a matrix
product. Surprises are priced under the memory before the step; the new memory is rounded to the
stored type first and everything else follows from the rounded one, so that state restored from
bytes gives the same bits.

At one row a node costs 0.7 us whatever it computes, so the graphs have few nodes rather than little
arithmetic.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from model.checkpoint import scaled_directions
from model.graph_builder import GraphBuilder
from model.int8_scan import int8_scan
from model.scan import Scan, exact_scan
from model.served import GRAPH_FORMAT, Graphs, ScanName, score_columns
from model.spec import Floats, ModelSpec

Weights = Mapping[str, Floats]


class _Prices(NamedTuple):
    """Names of graph values."""

    item_logit: str  # [B, 1]
    action_surprise: str  # [B, 1]


def build(
    spec: ModelSpec,
    weights: Weights,
    fingerprint: bytes,
    scan_name: ScanName = "exact",
    directions: Floats | None = None,
) -> Graphs:
    """The step of a model (weights as ``checkpoint.weight_shapes`` names them) as ONNX bytes."""
    metadata = {"format": str(GRAPH_FORMAT), "fingerprint": fingerprint.hex()}
    made = _recurrence(spec, weights), _read_out(spec, weights, scan_name, directions)
    names = Graphs._fields
    return Graphs(
        *(
            graph.model(name, metadata).SerializeToString()
            for name, graph in zip(names, made, strict=True)
        )
    )


def _recurrence(spec: ModelSpec, weights: Weights) -> GraphBuilder:
    """Inputs: ``item``, ``action``, ``gap`` int32 [B]; ``dense`` [B, F], absent if F is 0;
    ``hidden`` [B, H]. Output: ``new_hidden`` [B, H]."""
    graph, width = GraphBuilder(), spec.hidden_width
    item = graph.input("item", "int32", "B")
    action = graph.input("action", "int32", "B")
    gap = graph.input("gap", "int32", "B")
    dense = graph.input("dense", "float32", "B", len(spec.features)) if spec.features else None
    hidden = _unrounded(graph, spec, graph.input("hidden", spec.memory_dtype, "B", width))
    gates, new_gate = _from_memory(graph, weights, hidden)
    projected = _projected_input(graph, weights, item, action, gap, dense)  # [B, 3H]
    _gru(graph, spec, projected, gates, new_gate, hidden)
    graph.output("new_hidden", spec.memory_dtype, "B", width)
    return graph


def _read_out(
    spec: ModelSpec, weights: Weights, scan_name: ScanName, directions: Floats | None
) -> GraphBuilder:
    """Inputs: ``item`` int32 [B]; ``chosen_action`` int32 [B, 1]; ``before`` and ``after`` [B, H],
    the memories that the token met and left.

    Outputs: ``top_items`` int32 [B, K] and ``scores`` [B, W], whose columns are those of
    ``served.score_columns``; in the place of the item's surprise stands its logit, 0 for codes that
    are no known item. With the scan "projected", which runs outside of the graph, ``directions``
    [H, D] are those of its index; ``queries`` [B, H] and ``along`` [B, D] stand in the place of
    ``top_items``, and the columns that the scan fills are 0.
    """
    graph, width = GraphBuilder(), spec.hidden_width
    item = graph.input("item", "int32", "B")
    chosen_action = graph.input("chosen_action", "int32", "B", 1)
    before = _unrounded(graph, spec, graph.input("before", spec.memory_dtype, "B", width))
    after = _unrounded(graph, spec, graph.input("after", spec.memory_dtype, "B", width))
    vectors = scaled_directions(spec, weights)  # [V, H]
    padded = graph.constant(_padded(spec, vectors))  # [input_count, H]
    prices = _prices(graph, weights, before, graph("Gather", padded, item), chosen_action)
    queries = _unit(graph, after, "queries")
    heads = _heads(graph, spec, weights, after)
    if directions is not None:
        scanned = [_to_be_scanned(graph, spec, queries, directions)]
    else:
        scan = _scan(graph, spec, scan_name, queries, vectors, padded)
        scanned = [scan.log_z, graph("Sub", scan.top_logits, scan.log_z)]
        graph.cast(scan.top_items, "int32", name="top_items")
        graph.output("top_items", "int32", "B", spec.top_k)
    graph("Concat", *prices, *scanned, *heads, name="scores", axis=1)
    graph.output("scores", "float32", "B", sum(score_columns(spec).values()))
    return graph


def _unrounded(graph: GraphBuilder, spec: ModelSpec, stored: str) -> str:
    return graph.cast(stored, "float32") if spec.memory_dtype == "float16" else stored


def _padded(spec: ModelSpec, vectors: Floats) -> Floats:
    """A row per item code; zeros for codes that are no known item."""
    rows = np.zeros((spec.input_count, spec.hidden_width), dtype=np.float32)
    rows[: spec.item_count] = vectors
    return rows


def _prices(
    graph: GraphBuilder, weights: Weights, before: str, vectors: str, chosen_action: str
) -> _Prices:
    """What the memory before a token says of it; ``vectors`` [B, H] are those of the items."""
    matrix, bias = weights["action_head.weight"], weights["action_head.bias"]
    logits = graph("Gemm", before, graph.constant(matrix.T), graph.constant(bias))  # [B, A]
    chosen = graph("GatherElements", graph("LogSoftmax", logits), chosen_action, axis=1)
    products = graph("Mul", _unit(graph, before), vectors)  # [B, H]
    return _Prices(graph.row_sums(products, matrix.shape[1]), graph("Neg", chosen))


def _unit(graph: GraphBuilder, hidden: str, name: str = "") -> str:
    """Rows of length 1. Zero stays zero; NORM_FLOOR is left out, which a memory never comes near:
    one step leaves numbers around 0.1."""
    return graph("LpNormalization", hidden, name=name, axis=1, p=2)


def _scan(
    graph: GraphBuilder,
    spec: ModelSpec,
    scan_name: ScanName,
    queries: str,
    vectors: Floats,
    padded: str,
) -> Scan:
    if scan_name == "exact":
        return exact_scan(graph, queries, vectors, spec.top_k)
    return int8_scan(graph, queries, vectors, padded, spec.top_k)


def _to_be_scanned(graph: GraphBuilder, spec: ModelSpec, queries: str, directions: Floats) -> str:
    """Give out what a scan outside of the graph reads; room for its results, [B, 1 + K] zeros."""
    width, dims = directions.shape
    graph("MatMul", queries, graph.constant(directions), name="along")
    graph.output("queries", "float32", "B", width)
    graph.output("along", "float32", "B", dims)
    nothing = graph("Mul", queries, graph.constant(0.0))  # [B, H]
    columns = graph.constant(np.zeros(spec.top_k + 1), "int64")
    return graph("Gather", nothing, columns, axis=1)


def _from_memory(graph: GraphBuilder, weights: Weights, hidden: str) -> tuple[str, str]:
    """What the old memory says to reset and update gate [B, 2H], and to the new gate [B, H].

    Of the gates' biases only the new gate's recurrent one cannot move into the input tables: the
    reset gate multiplies it.
    """
    matrix, bias = weights["gru.weight_hh"], weights["gru.bias_hh"].copy()
    width = matrix.shape[1]
    bias[: 2 * width] = 0.0
    both = graph("Gemm", hidden, graph.constant(matrix.T), graph.constant(bias))
    gates, new_gate = graph.split(both, [2 * width, width])
    return gates, new_gate


def _projected_input(
    graph: GraphBuilder, weights: Weights, item: str, action: str, gap: str, dense: str | None
) -> str:
    """The input's share of the gates, [B, 3H], from one table row per code."""
    to_gates = weights["gru.weight_ih"].T.astype(np.float64)  # [H, 3H]
    width = to_gates.shape[0]
    bias = weights["gru.bias_ih"].astype(np.float64)
    bias[: 2 * width] += weights["gru.bias_hh"][: 2 * width]
    tables = (
        (item, weights["item_embedding"] @ to_gates),
        (action, weights["action_embedding"] @ to_gates + bias),
        (gap, weights["gap_embedding"] @ to_gates),
    )
    shares = [graph("Gather", graph.constant(table), codes) for codes, table in tables]
    if dense is not None:
        matrix = weights["dense_weight"] @ to_gates  # [F, 3H]
        shares.append(graph("MatMul", dense, graph.constant(matrix)))
    return graph("Sum", *shares)


def _gru(
    graph: GraphBuilder, spec: ModelSpec, projected: str, gates: str, new_gate: str, hidden: str
) -> None:
    """Give out ``new_hidden`` [B, H] by the formulas of torch.nn.GRU, rounded to the stored
    type."""
    width = spec.hidden_width
    gates_in, new_in = graph.split(projected, [2 * width, width])
    opened = graph("Sigmoid", graph("Add", gates_in, gates))
    reset, update = graph.split(opened, [width, width])
    new = graph("Tanh", graph("Add", new_in, graph("Mul", reset, new_gate)))
    kept = graph("Mul", update, graph("Sub", hidden, new))
    if spec.memory_dtype == "float32":
        graph("Add", new, kept, name="new_hidden")
    else:
        graph.cast(graph("Add", new, kept), "float16", name="new_hidden")


def _heads(graph: GraphBuilder, spec: ModelSpec, weights: Weights, hidden: str) -> list[str]:
    """log p(next action) [B, A], p(cart) and p(purchase) [B, 2], log p(next gap) [B, G-1]."""
    names = ("action_head", "intent_head", "gap_head")
    matrix = np.concatenate([weights[f"{name}.weight"] for name in names])
    bias = np.concatenate([weights[f"{name}.bias"] for name in names])
    all_heads = graph("Gemm", hidden, graph.constant(matrix.T), graph.constant(bias))
    action, intent, gap = graph.split(all_heads, [len(spec.actions), 2, spec.gap_count - 1])
    return [graph("LogSoftmax", action), graph("Sigmoid", intent), graph("LogSoftmax", gap)]
