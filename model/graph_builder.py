"""A short notation for ONNX graphs: one call a node, one call a constant, names made up."""

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

# What ONNX Runtime 1.24, the oldest supported one, reads; nothing here needs more.
OPSET = 18
IR_VERSION = 9

# Numbers in the widest vector register (AVX-512): rows of a multiple of it all begin alike.
ROW_ALIGNMENT = 16

ELEMENT_TYPES = {
    "int8": TensorProto.INT8,
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

    def output(self, name: str, dtype: str, *shape: str | int) -> None:
        """Declare the value of this name an output."""
        self._outputs.append(helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], shape))

    def constant(self, array: npt.ArrayLike, dtype: str = "float32") -> str:
        name = f"constant_{len(self._constants)}"
        stored = np.array(array, dtype=dtype, order="C")
        self._constants.append(numpy_helper.from_array(stored, name))
        return name

    def __call__(
        self, op: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output and name that output."""
        output = name or self._fresh()
        self._nodes.append(helper.make_node(op, inputs, [output], domain=domain, **attributes))
        return output

    def cast(self, value: str, dtype: str, name: str = "") -> str:
        return self("Cast", value, name=name, to=ELEMENT_TYPES[dtype])

    def row_sums(self, value: str, width: int) -> str:
        """[B, width] -> [B, 1], in an order that does not depend on B or on the row's place.

        ReduceSum begins each row at the first address that its vector registers like: measured, a
        row of 7, 30 or 129 numbers changes bits with its place in the batch. A product with ones
        never does, at twice the time.
        """
        if width % ROW_ALIGNMENT == 0:
            return self("ReduceSum", value, self.constant([1], "int64"), keepdims=1)
        return self("MatMul", value, self.constant(np.ones((width, 1))))

    def split(self, value: str, sizes: list[int]) -> list[str]:
        """Columns of a matrix in parts of the given widths."""
        parts = [f"{self._fresh()}_{part}" for part in range(len(sizes))]
        widths = self.constant(sizes, "int64")
        self._nodes.append(helper.make_node("Split", [value, widths], parts, axis=1))
        return parts

    def top_k(self, value: str, k: int, *, largest: bool = True) -> tuple[str, str]:
        """The k largest (or smallest) of each row in order with their positions, ties by position.

        Positions are int64.
        """
        values, positions = f"{self._fresh()}_0", f"{self._fresh()}_1"
        count = self.constant([k], "int64")
        self._nodes.append(
            helper.make_node("TopK", [value, count], [values, positions], largest=int(largest))
        )
        return values, positions

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

    def _fresh(self) -> str:
        return f"value_{len(self._nodes)}"
