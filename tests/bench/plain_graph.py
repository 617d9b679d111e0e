"""The served step as one ONNX graph, for engines that run a graph and nothing beside it."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper

from model.graph_builder import IR_VERSION, OPSET
from model.served import GRAPH_FILES, Graphs
from model.spec import ModelSpec

PLAIN_GRAPH_FILE = "step.onnx"

# Of the read-out: what is of the recurrence, or of the whole.
_SHARED = {"item": "item", "chosen_action": "chosen_action", "before": "hidden"}
_SHARED |= {"after": "new_hidden", "top_items": "top_items", "scores": "scores"}


def save_plain(folder: Path) -> None:
    """Write ``step.onnx`` beside the graphs of an exported folder, whose scan must not be
    "projected"."""
    graphs = Graphs(*((folder / name).read_bytes() for name in GRAPH_FILES))
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    spec = msgspec.convert(manifest["spec"], ModelSpec)
    (folder / PLAIN_GRAPH_FILE).write_bytes(plain(graphs, spec))


def plain(graphs: Graphs, spec: ModelSpec) -> bytes:
    """Inputs: those of the recurrence, ``chosen_action`` int32 [B, 1], which is ``action`` again,
    and ``log_z`` [B, 1]. Outputs: ``new_hidden``, ``top_items``, and ``scores`` with the item's
    surprise in their first column."""
    first, second = (onnx.load_from_string(graph).graph for graph in graphs)
    for node in second.node:
        node.input[:] = map(_renamed, node.input)
        node.output[:] = map(_renamed, node.output)
    for constant in second.initializer:
        constant.name = _renamed(constant.name)
    is_known = np.arange(spec.input_count)[:, None] < spec.item_count  # [input_count, 1]
    constants = [numpy_helper.from_array(is_known.astype(np.float32), "is_known")]
    (scores,) = (node for node in second.node if "scores" in node.output)
    logit, scores.input[0] = scores.input[0], "item_surprise"
    priced = [
        helper.make_node("Gather", ["is_known", "item"], ["known"]),
        helper.make_node("Mul", ["log_z", "known"], ["known_log_z"]),
        helper.make_node("Sub", ["known_log_z", logit], ["item_surprise"]),
    ]
    told = [value for value in second.input if value.name == "chosen_action"]
    told.append(helper.make_tensor_value_info("log_z", onnx.TensorProto.FLOAT, ["B", 1]))
    graph = helper.make_graph(
        [*first.node, *second.node[:-1], *priced, second.node[-1]],
        "step",
        [*first.input, *told],
        [*first.output, *second.output],
        initializer=[*first.initializer, *second.initializer, *constants],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return model.SerializeToString()  # type: ignore[no-any-return]


def _renamed(name: str) -> str:
    return _SHARED.get(name, f"read_out_{name}")
