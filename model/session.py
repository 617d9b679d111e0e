"""A served graph in ONNX Runtime on one thread, with buffers that are allocated once."""

from typing import Any

import numpy as np
import numpy.typing as npt

from model.native_scan import ItemScan
from model.recall_probe import probe_of
from model.runtime import ort
from model.scan_index import ScanIndex
from model.served import score_columns
from model.spec import Floats, Hidden, Ints, Memory, ModelSpec, Tokens

# With the projected scan only its index passes through the cache, once for all rows of a call.
PROJECTED_ROWS = 256

# The scores of all items of one call should stay in the processor's cache: measured, 17,000 items
# cost the least at 16 to 64 rows a call.
SCORE_BYTES = 4 << 20
CALL_ROWS = (16, 256)

ALIGNMENT_BYTES = 64  # of the widest vector register


class SessionError(ValueError):
    """ONNX Runtime refused the graph, or its inputs are not those of the model."""


class StepSession:
    """Runs the graph on up to ``rows`` rows a call.

    Arrays are bound to ONNX Runtime once per batch size, because binding costs more than a small
    step. A call overwrites ``new_hidden``, ``top_items`` and ``scores`` of the call before.
    """

    def __init__(self, graph: bytes, spec: ModelSpec, index: ScanIndex | None = None) -> None:
        self._session = _open(graph)
        self._bindings: dict[int, ort.IOBinding] = {}
        self.probe = None if index is None else probe_of(index)
        self._scanner, self._top_k = None if index is None else ItemScan(index), spec.top_k
        self.rows = rows = rows_per_call(spec) if index is None else PROJECTED_ROWS
        columns = sum(score_columns(spec).values())
        self._item = _buffer("int32", rows)
        self._action = _buffer("int32", rows)
        self._gap = _buffer("int32", rows)
        self._dense = _buffer("float32", rows, len(spec.features))
        self._hidden: Hidden = _buffer(spec.memory_dtype, rows, spec.hidden_width)
        self._log_z = _buffer("float32", rows, 1)
        self.new_hidden: Hidden = _buffer(spec.memory_dtype, rows, spec.hidden_width)
        self.top_items: Ints = _buffer("int32", rows, spec.top_k)
        self.scores: Floats = _buffer("float32", rows, columns)
        self._inputs: dict[str, npt.NDArray[np.generic]] = {
            "item": self._item,
            "action": self._action,
            "gap": self._gap,
            "chosen_action": self._action[:, None],
            "hidden": self._hidden,
            "log_z": self._log_z,
        }
        if spec.features:
            self._inputs["dense"] = self._dense
        self._outputs: dict[str, npt.NDArray[np.generic]] = {
            "new_hidden": self.new_hidden,
            "scores": self.scores,
        }
        if index is None:
            self._outputs["top_items"] = self.top_items
        else:
            self._queries: Floats = _buffer("float32", rows, spec.hidden_width)
            self._along: Floats = _buffer("float32", rows, index.dims)
            self._outputs |= {"queries": self._queries, "along": self._along}
        self._check_signature()

    @property
    def metadata(self) -> dict[str, str]:
        """The strings that the graph was built with."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, tokens: Tokens, memory: Memory, start: int, end: int) -> None:
        """Rows ``start .. end-1``, at most ``self.rows``, into the first rows of the buffers."""
        rows = end - start
        self._item[:rows] = tokens.item[start:end]
        self._action[:rows] = tokens.action[start:end]
        self._gap[:rows] = tokens.gap[start:end]
        self._dense[:rows] = tokens.dense[start:end]
        self._hidden[:rows] = memory.hidden[start:end]
        self._log_z[:rows, 0] = memory.log_z[start:end]
        binding = self._bindings.get(rows)
        if binding is None:
            binding = self._bindings[rows] = self._bind(rows)
        self._session.run_with_iobinding(binding)
        if self._scanner is not None:
            self._scan(self._scanner, rows)

    def _scan(self, scanner: ItemScan, rows: int) -> None:
        """Fill in what the graph left to the scan: see ``served.score_columns``."""
        found = scanner.find(self._queries[:rows], self._along[:rows], self._top_k)
        self.top_items[:rows] = found.top_items
        if self.probe is not None:
            self.probe.see(self._queries[:rows], found.top_items)
        self.scores[:rows, 2] = found.log_z
        np.subtract(
            found.top_logits, found.log_z[:, None], out=self.scores[:rows, 3 : 3 + self._top_k]
        )

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


_TYPES = {"int32": "tensor(int32)", "float16": "tensor(float16)", "float32": "tensor(float)"}


def _buffer(dtype: str, *shape: int) -> Any:
    """Zeros that begin at a multiple of ALIGNMENT_BYTES in every process: some kernels of ONNX
    Runtime begin a row where the address suits them, and a restart must not change bits."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    store = np.zeros(size + ALIGNMENT_BYTES, dtype=np.uint8)
    start = -store.ctypes.data % ALIGNMENT_BYTES
    return store[start : start + size].view(dtype).reshape(shape)


def rows_per_call(spec: ModelSpec) -> int:
    fewest, most = CALL_ROWS
    return int(np.clip(SCORE_BYTES // (4 * spec.item_count), fewest, most))


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
