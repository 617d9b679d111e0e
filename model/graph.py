"""The served graph: one batched step of the GRU as one ONNX model, built node by node.

The input projection is folded into tables (a row per item, action and gap), so that a step costs
three look-ups instead of three embeddings and a matrix product. Surprises are priced under the
memory before the step; the new memory is rounded to the stored type first and everything else
follows from the rounded one, so that state restored from bytes gives the same bits.
"""

from collections.abc import Mapping

import numpy as np

from model.checkpoint import NORM_FLOOR
from model.graph_builder import ELEMENT_TYPES, GraphBuilder
from model.scan import exact_scan
from model.served import GRAPH_FORMAT, score_columns
from model.spec import Floats, ModelSpec


def build(spec: ModelSpec, weights: Mapping[str, Floats], fingerprint: bytes) -> bytes:
    """The step of a model (weights as ``checkpoint.weight_shapes`` names them) as ONNX bytes.

    Inputs: ``item``, ``action``, ``gap`` int32 [B], ``dense`` [B, F] (absent if F is 0),
    ``hidden`` [B, H], ``log_z`` [B]. Outputs: ``new_hidden`` [B, H], ``top_items`` int32 [B, K]
    and ``scores`` [B, W], whose columns are those of ``score_columns``.
    """
    graph = GraphBuilder()
    actions, width = len(spec.actions), spec.hidden_width
    codes = {name: graph.input(name, "int32", "B") for name in ("item", "action", "gap")}
    dense = graph.input("dense", "float32", "B", len(spec.features)) if spec.features else None
    stored = graph.input("hidden", spec.memory_dtype, "B", width)
    log_z = graph.input("log_z", "float32", "B")

    hidden = _as_float(graph, stored, spec)
    directions = unit_rows(weights["item_embedding"][: spec.item_count])
    item_surprise = _item_surprise(graph, spec, weights, directions, codes["item"], hidden, log_z)
    from_memory, action_logits = _from_memory(graph, weights, hidden, width, actions)
    action_logp = graph("LogSoftmax", action_logits)
    chosen = graph("Unsqueeze", codes["action"], graph.constant([1], "int64"))  # [B, 1]
    action_surprise = graph("Neg", graph("GatherElements", action_logp, chosen, axis=1))

    projected = _projected_input(graph, weights, codes, dense)  # [B, 3H]
    new_stored = _gru(graph, spec, projected, from_memory, hidden)
    new_hidden = _as_float(graph, new_stored, spec)
    queries = _queries(graph, new_hidden, float(weights["logit_scale"]))
    scan = exact_scan(graph, queries, directions, spec.top_k)
    top_logp = graph("Sub", scan.top_logits, scan.log_z)
    heads = _heads(graph, weights, new_hidden, actions, spec.gap_count - 1)

    scores = graph("Concat", item_surprise, action_surprise, scan.log_z, top_logp, *heads, axis=1)
    graph.output("new_hidden", new_stored, spec.memory_dtype, "B", width)
    graph.output("top_items", scan.top_items, "int32", "B", spec.top_k)
    graph.output("scores", scores, "float32", "B", sum(score_columns(spec).values()))
    metadata = {"format": str(GRAPH_FORMAT), "fingerprint": fingerprint.hex()}
    return graph.model("step", metadata).SerializeToString()  # type: ignore[no-any-return]


def unit_rows(vectors: Floats) -> Floats:
    """Vectors divided by their length (or by NORM_FLOOR, where that is larger)."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: Floats = (vectors / np.maximum(norms, NORM_FLOOR)).astype(np.float32)
    return unit


def _as_float(graph: GraphBuilder, value: str, spec: ModelSpec) -> str:
    if spec.memory_dtype == "float32":
        return value
    return graph("Cast", value, to=ELEMENT_TYPES["float32"])


def _row_sums(graph: GraphBuilder, value: str) -> str:
    """[B, n] -> [B, 1]."""
    return graph("ReduceSum", value, graph.constant([1], "int64"), keepdims=1)


def _length(graph: GraphBuilder, hidden: str) -> str:
    """Euclidean length of each row, at least NORM_FLOOR, [B, 1]."""
    squares = _row_sums(graph, graph("Mul", hidden, hidden))
    return graph("Max", graph("Sqrt", squares), graph.constant(NORM_FLOOR))


def _queries(graph: GraphBuilder, hidden: str, scale: float) -> str:
    factor = graph("Div", graph.constant(scale), _length(graph, hidden))
    return graph("Mul", hidden, factor)  # [B, H]


def _item_surprise(
    graph: GraphBuilder,
    spec: ModelSpec,
    weights: Mapping[str, Floats],
    directions: Floats,
    item: str,
    hidden: str,
    log_z: str,
) -> str:
    """-log p(item) under the memory before the step, 0 for codes that are no known item."""
    axis = graph.constant([1], "int64")
    known = graph("Min", item, graph.constant(spec.item_count - 1, "int32"))
    rows = graph("Gather", graph.constant(directions), known)  # [B, H]
    queries = _queries(graph, hidden, float(weights["logit_scale"]))
    logit = _row_sums(graph, graph("Mul", queries, rows))  # [B, 1]
    surprise = graph("Sub", graph("Unsqueeze", log_z, axis), logit)  # [B, 1]
    is_known = graph("Less", item, graph.constant(spec.item_count, "int32"))
    return graph("Where", graph("Unsqueeze", is_known, axis), surprise, graph.constant(0.0))


def _from_memory(
    graph: GraphBuilder, weights: Mapping[str, Floats], hidden: str, width: int, actions: int
) -> tuple[str, str]:
    """What the old memory says: to the gates [B, 3H], and of the action to come [B, A].

    One product for both. Of the gates' biases only the new gate's recurrent one cannot move into
    the input tables: the reset gate multiplies it.
    """
    matrix = np.concatenate([weights["gru.weight_hh"], weights["action_head.weight"]]).T
    bias = np.concatenate([weights["gru.bias_hh"], weights["action_head.bias"]])
    bias[: 2 * width] = 0.0
    both = graph("Gemm", hidden, graph.constant(matrix), graph.constant(bias))
    gates, action_logits = graph.split(both, [3 * width, actions])
    return gates, action_logits


def _projected_input(
    graph: GraphBuilder, weights: Mapping[str, Floats], codes: Mapping[str, str], dense: str | None
) -> str:
    """The input's share of the gates, [B, 3H], from one table row per code."""
    to_gates = weights["gru.weight_ih"].T.astype(np.float64)  # [H, 3H]
    width = to_gates.shape[0]
    bias = weights["gru.bias_ih"].astype(np.float64)
    bias[: 2 * width] += weights["gru.bias_hh"][: 2 * width]
    tables = {
        "item": weights["item_embedding"] @ to_gates,
        "action": weights["action_embedding"] @ to_gates + bias,
        "gap": weights["gap_embedding"] @ to_gates,
    }
    rows = [graph("Gather", graph.constant(tables[name]), codes[name]) for name in tables]
    total = graph("Add", graph("Add", rows[0], rows[1]), rows[2])
    if dense is None:
        return total
    share = graph("MatMul", dense, graph.constant(weights["dense_weight"] @ to_gates))
    return graph("Add", total, share)


def _gru(
    graph: GraphBuilder, spec: ModelSpec, projected: str, from_memory: str, hidden: str
) -> str:
    """The new memory [B, H] in the stored type, by the formulas of torch.nn.GRU."""
    width = spec.hidden_width
    gates_in, new_in = graph.split(projected, [2 * width, width])
    gates_memory, new_memory = graph.split(from_memory, [2 * width, width])
    gates = graph("Sigmoid", graph("Add", gates_in, gates_memory))
    reset, update = graph.split(gates, [width, width])
    new = graph("Tanh", graph("Add", new_in, graph("Mul", reset, new_memory)))
    result = graph("Add", new, graph("Mul", update, graph("Sub", hidden, new)))
    if spec.memory_dtype == "float32":
        return result
    return graph("Cast", result, to=ELEMENT_TYPES["float16"])


def _heads(
    graph: GraphBuilder, weights: Mapping[str, Floats], hidden: str, actions: int, gaps: int
) -> list[str]:
    """log p(next action) [B, A], p(cart) and p(purchase) [B, 2], log p(next gap) [B, G-1]."""
    names = ("action_head", "intent_head", "gap_head")
    matrix = np.concatenate([weights[f"{name}.weight"] for name in names]).T
    bias = np.concatenate([weights[f"{name}.bias"] for name in names])
    both = graph("Gemm", hidden, graph.constant(matrix), graph.constant(bias))
    action, intent, gap = graph.split(both, [actions, 2, gaps])
    return [graph("LogSoftmax", action), graph("Sigmoid", intent), graph("LogSoftmax", gap)]
