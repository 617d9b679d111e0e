"""A short notation for ONNX graphs: one call a node, one call a constant, names made up."""

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

# What ONNX Runtime 1.24, the oldest supported one, reads; nothing here needs more.
OPSET = 18
IR_VERSION = 9

ELEMENT_TYPES = {
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
}


class GraphBuilder:
    """Collects nodes in execution order; values are named by strings."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: str, *shape: str | int) -> str:
        """Declare an input; a string in the shape is a length that may vary."""
        self._inputs.append(helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], shape))
        return name

    def output(self, name: str, value: str, dtype: str, *shape: str | int) -> None:
        """Give a value out of the graph under a name of its own."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], shape))

    def constant(self, array: npt.ArrayLike, dtype: str = "float32") -> str:
        name = f"constant_{len(self._constants)}"
        stored = np.ascontiguousarray(np.asarray(array, dtype=dtype))
        # ascontiguousarray makes a vector of a scalar; operators tell the two apart.
        stored = stored.reshape(np.shape(array))
        self._constants.append(numpy_helper.from_array(stored, name))
        return name

    def split(self, value: str, sizes: list[int], axis: int = 1) -> list[str]:
        """Cut a value into parts of the given sizes along an axis."""
        names = [f"value_{len(self._nodes)}_{part}" for part in range(len(sizes))]
        parts = self.constant(sizes, "int64")
        self._nodes.append(helper.make_node("Split", [value, parts], names, axis=axis))
        return names

    def top_k(self, value: str, k: int, largest: bool = True) -> tuple[str, str]:
        """The k largest (or smallest) of each row with their positions, ties by position."""
        values, positions = f"value_{len(self._nodes)}_0", f"value_{len(self._nodes)}_1"
        count = self.constant([k], "int64")
        self._nodes.append(
            helper.make_node("TopK", [value, count], [values, positions], largest=int(largest))
        )
        return values, positions

    def __call__(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and name that output."""
        name = f"value_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], domain=domain, **attributes))
        return name

    def model(self, name: str, metadata: dict[str, str]) -> ModelProto:
        """The finished graph, with strings for whoever opens it."""
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, initializer=self._constants
        )
        model = helper.make_model(
            graph,
            producer_name="clickahead",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        helper.set_model_props(model, metadata)
        return model
