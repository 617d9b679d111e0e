"""The served graph: one batched step of the GRU as one ONNX model, built node by node.

The input projection is folded into tables (a row per item, action and gap), so that a step costs
three look-ups instead of three embeddings and a matrix product. Surprises are priced under the
memory before the step; the new memory is rounded to the stored type first and everything else
follows from the rounded one, so that state restored from bytes gives the same bits.

At one row a node costs 0.7 us whatever it computes, so the graph has few nodes rather than little
arithmetic.
"""

from collections.abc import Mapping

import numpy as np

from model.checkpoint import scaled_directions
from model.graph_builder import GraphBuilder
from model.int8_scan import int8_scan
from model.scan import Scan, exact_scan
from model.served import GRAPH_FORMAT, ScanName, score_columns
from model.spec import Floats, ModelSpec

Weights = Mapping[str, Floats]


def build(
    spec: ModelSpec,
    weights: Weights,
    fingerprint: bytes,
    scan_name: ScanName = "exact",
    directions: Floats | None = None,
) -> bytes:
    """The step of a model (weights as ``checkpoint.weight_shapes`` names them) as ONNX bytes.

    Inputs: ``item``, ``action``, ``gap`` int32 [B]; ``chosen_action`` int32 [B, 1], which is
    ``action`` again; ``dense`` [B, F], absent if F is 0; ``hidden`` [B, H]; ``log_z`` [B, 1].
    Outputs: ``new_hidden`` [B, H], ``top_items`` int32 [B, K] and ``scores`` [B, W], whose columns
    are those of ``served.score_columns``. With the scan "projected", which runs outside of the
    graph, ``directions`` [H, D] are those of its index; ``queries`` [B, H] and ``along`` [B, D]
    stand in the place of ``top_items``, and the columns that the scan fills are 0.
    """
    graph = GraphBuilder()
    width = spec.hidden_width
    item = graph.input("item", "int32", "B")
    action = graph.input("action", "int32", "B")
    gap = graph.input("gap", "int32", "B")
    chosen_action = graph.input("chosen_action", "int32", "B", 1)
    dense = graph.input("dense", "float32", "B", len(spec.features)) if spec.features else None
    stored = graph.input("hidden", spec.memory_dtype, "B", width)
    log_z = graph.input("log_z", "float32", "B", 1)

    vectors = scaled_directions(spec, weights)  # [V, H]
    padded = graph.constant(_priced_items(spec, vectors))  # [input_count, H + 1]
    hidden = graph.cast(stored, "float32") if spec.memory_dtype == "float16" else stored
    item_logp = _item_logp(graph, hidden, log_z, graph("Gather", padded, item), width)
    gates, new_gate, action_logits = _from_memory(graph, spec, weights, hidden)
    action_logp = graph("LogSoftmax", action_logits)
    chosen_logp = graph("GatherElements", action_logp, chosen_action, axis=1)  # [B, 1]

    projected = _projected_input(graph, weights, item, action, gap, dense)  # [B, 3H]
    new_hidden = _gru(graph, spec, projected, gates, new_gate, hidden)
    queries = _unit(graph, new_hidden)
    heads = _heads(graph, spec, weights, new_hidden)
    surprises = [graph("Neg", item_logp), graph("Neg", chosen_logp)]
    graph.output("new_hidden", spec.memory_dtype, "B", width)
    if directions is not None:
        scanned = [_to_be_scanned(graph, spec, queries, directions)]
    else:
        scan = _scan(graph, spec, scan_name, queries, vectors, padded)
        scanned = [scan.log_z, graph("Sub", scan.top_logits, scan.log_z)]
        graph.cast(scan.top_items, "int32", name="top_items")
        graph.output("top_items", "int32", "B", spec.top_k)
    graph("Concat", *surprises, *scanned, *heads, name="scores", axis=1)
    graph.output("scores", "float32", "B", sum(score_columns(spec).values()))
    metadata = {"format": str(GRAPH_FORMAT), "fingerprint": fingerprint.hex()}
    return graph.model("step", metadata).SerializeToString()  # type: ignore[no-any-return]


def _priced_items(spec: ModelSpec, vectors: Floats) -> Floats:
    """Per item code a row [vector, -1], so that its product with [query, log Z] is log p(item);
    zeros for codes that are no known item, whose surprise is 0."""
    rows = np.zeros((spec.input_count, spec.hidden_width + 1), dtype=np.float32)
    rows[: spec.item_count, :-1] = vectors
    rows[: spec.item_count, -1] = -1.0
    return rows


def _item_logp(graph: GraphBuilder, hidden: str, log_z: str, priced: str, width: int) -> str:
    priced_by = graph("Concat", _unit(graph, hidden), log_z, axis=1)  # [B, H + 1]
    return graph.row_sums(graph("Mul", priced_by, priced), width + 1)


def _unit(graph: GraphBuilder, hidden: str) -> str:
    """Rows of length 1. Zero stays zero; NORM_FLOOR is left out, which a memory never comes near:
    one step leaves numbers around 0.1."""
    return graph("LpNormalization", hidden, axis=1, p=2)


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
    graph("Identity", queries, name="queries")
    graph("MatMul", queries, graph.constant(directions), name="along")
    graph.output("queries", "float32", "B", width)
    graph.output("along", "float32", "B", dims)
    nothing = graph("Mul", queries, graph.constant(0.0))  # [B, H]
    columns = graph.constant(np.zeros(spec.top_k + 1), "int64")
    return graph("Gather", nothing, columns, axis=1)


def _from_memory(
    graph: GraphBuilder, spec: ModelSpec, weights: Weights, hidden: str
) -> tuple[str, str, str]:
    """What the old memory says: to reset and update gate [B, 2H], to the new gate [B, H], and of
    the action to come [B, A].

    Of the gates' biases only the new gate's recurrent one cannot move into the input tables: the
    reset gate multiplies it.
    """
    width = spec.hidden_width
    matrix = np.concatenate([weights["gru.weight_hh"], weights["action_head.weight"]])
    bias = np.concatenate([weights["gru.bias_hh"], weights["action_head.bias"]])
    bias[: 2 * width] = 0.0
    both = graph("Gemm", hidden, graph.constant(matrix.T), graph.constant(bias))
    gates, new_gate, action_logits = graph.split(both, [2 * width, width, len(spec.actions)])
    return gates, new_gate, action_logits


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
) -> str:
    """The new memory [B, H] by the formulas of torch.nn.GRU; gives out ``new_hidden`` and returns
    what was rounded to it, in float32."""
    width = spec.hidden_width
    gates_in, new_in = graph.split(projected, [2 * width, width])
    opened = graph("Sigmoid", graph("Add", gates_in, gates))
    reset, update = graph.split(opened, [width, width])
    new = graph("Tanh", graph("Add", new_in, graph("Mul", reset, new_gate)))
    kept = graph("Mul", update, graph("Sub", hidden, new))
    if spec.memory_dtype == "float32":
        return graph("Add", new, kept, name="new_hidden")
    rounded = graph.cast(graph("Add", new, kept), "float16", name="new_hidden")
    return graph.cast(rounded, "float32")


def _heads(graph: GraphBuilder, spec: ModelSpec, weights: Weights, hidden: str) -> list[str]:
    """log p(next action) [B, A], p(cart) and p(purchase) [B, 2], log p(next gap) [B, G-1]."""
    names = ("action_head", "intent_head", "gap_head")
    matrix = np.concatenate([weights[f"{name}.weight"] for name in names])
    bias = np.concatenate([weights[f"{name}.bias"] for name in names])
    all_heads = graph("Gemm", hidden, graph.constant(matrix.T), graph.constant(bias))
    action, intent, gap = graph.split(all_heads, [len(spec.actions), 2, spec.gap_count - 1])
    return [graph("LogSoftmax", action), graph("Sigmoid", intent), graph("LogSoftmax", gap)]
