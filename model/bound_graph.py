"""A graph in ONNX Runtime on one thread, with buffers that are allocated once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from model.runtime import ort

ALIGNMENT_BYTES = 64  # of the widest vector register

Buffers = Mapping[str, npt.NDArray[np.generic]]

_TYPES = {"int32": "tensor(int32)", "float16": "tensor(float16)", "float32": "tensor(float)"}


class SessionError(ValueError):
    """ONNX Runtime refused the graph, or its inputs are not those of the model."""


class BoundGraph:
    """Runs a graph on the first rows of its buffers.

    They are bound to ONNX Runtime once per number of rows, because binding costs more than a small
    step.
    """

    def __init__(self, graph: bytes, inputs: Buffers, outputs: Buffers) -> None:
        self._session = _open(graph)
        self._inputs, self._outputs = inputs, outputs
        self._bindings: dict[int, ort.IOBinding] = {}
        self._check_signature()

    @property
    def metadata(self) -> dict[str, str]:
        """The strings that the graph was built with."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, rows: int) -> None:
        binding = self._bindings.get(rows)
        if binding is None:
            binding = self._bindings[rows] = self._bind(rows)
        self._session.run_with_iobinding(binding)

    def _bind(self, rows: int) -> ort.IOBinding:
        binding = self._session.io_binding()
        for name, array in self._inputs.items():
            shape = (rows, *array.shape[1:])
            binding.bind_input(name, "cpu", 0, array.dtype, shape, array.ctypes.data)
        for name, array in self._outputs.items():
            shape = (rows, *array.shape[1:])
            binding.bind_output(name, "cpu", 0, array.dtype, shape, array.ctypes.data)
        return binding

    def _check_signature(self) -> None:
        """Foreign shapes would make ONNX Runtime read and write outside the buffers."""
        for declared, arrays in (
            (self._session.get_inputs(), self._inputs),
            (self._session.get_outputs(), self._outputs),
        ):
            found = {value.name: (value.type, value.shape[1:]) for value in declared}
            wanted = {
                name: (_TYPES[array.dtype.name], list(array.shape[1:]))
                for name, array in arrays.items()
            }
            if found != wanted:
                raise SessionError(f"the graph has {found}, the model's spec asks for {wanted}")


def buffer(dtype: str, *shape: int) -> Any:
    """Zeros that begin at a multiple of ALIGNMENT_BYTES in every process: some kernels of ONNX
    Runtime begin a row where the address suits them, and a restart must not change bits."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    store = np.zeros(size + ALIGNMENT_BYTES, dtype=np.uint8)
    start = -store.ctypes.data % ALIGNMENT_BYTES
    return store[start : start + size].view(dtype).reshape(shape)


def _open(graph: bytes) -> ort.InferenceSession:
    """No graph optimisation: the nodes are laid out by hand, and rewriting them would make results
    depend on the version of ONNX Runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise SessionError(
            f"ONNX Runtime {ort.__version__} cannot open the graph: {error}"
        ) from error
