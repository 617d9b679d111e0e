"""A served graph in ONNX Runtime on one thread, with buffers that are allocated once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.native_scan import ItemScan
from model.recall_probe import probe_of
from model.runtime import ort
from model.scan_index import ScanIndex
from model.scan_rough import Found
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


class _Bound(NamedTuple):
    """Inputs of B rows, and what hands them to ONNX Runtime."""

    binding: ort.IOBinding
    item: Ints  # [B]
    action: Ints  # [B]
    gap: Ints  # [B]
    dense: Floats  # [B, F]
    hidden: Hidden  # [B, H]
    log_z: Floats  # [B]


class StepSession:
    """Runs the graph on up to ``rows`` rows a call.

    Arrays are bound to ONNX Runtime once per batch size, because binding costs more than a small
    step. A call overwrites ``new_hidden``, ``top_items`` and ``scores`` of the call before.
    """

    def __init__(self, graph: bytes, spec: ModelSpec, index: ScanIndex | None = None) -> None:
        self._session = _open(graph)
        self._bindings: dict[int, _Bound] = {}
        self.probe = None if index is None else probe_of(index)
        self._top = slice(3, 3 + spec.top_k)
        self._find: Callable[[int], None] | None = None
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
            self._found = Found.of(rows, spec.top_k)._replace(top_items=self.top_items)
            self._find = ItemScan(index).bind(self._queries, self._along, self._found)
        self._check_signature()

    @property
    def metadata(self) -> dict[str, str]:
        """The strings that the graph was built with."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, tokens: Tokens, memory: Memory, start: int, end: int) -> None:
        """Rows ``start .. end-1``, at most ``self.rows``, into the first rows of the buffers."""
        rows = end - start
        bound = self._bindings.get(rows)
        if bound is None:
            bound = self._bindings[rows] = self._bind(rows)
        bound.item[:] = tokens.item[start:end]
        bound.action[:] = tokens.action[start:end]
        bound.gap[:] = tokens.gap[start:end]
        if bound.dense.size:
            bound.dense[:] = tokens.dense[start:end]
        bound.hidden[:] = memory.hidden[start:end]
        bound.log_z[:] = memory.log_z[start:end]
        self._session.run_with_iobinding(bound.binding)
        if self._find is not None:
            self._find(rows)
            self._put_in(rows)

    def _put_in(self, rows: int) -> None:
        """Fill in what the graph left to the scan: see ``served.score_columns``."""
        log_z, scores = self._found.log_z[:rows], self.scores[:rows]
        scores[:, 2] = log_z
        np.subtract(self._found.top_logits[:rows], log_z[:, None], out=scores[:, self._top])
        if self.probe is not None:
            self.probe.see(self._queries[:rows], self.top_items[:rows])

    def _bind(self, rows: int) -> "_Bound":
        binding = self._session.io_binding()
        for name, array in self._inputs.items():
            shape = (rows, *array.shape[1:])
            binding.bind_input(name, "cpu", 0, array.dtype, shape, array.ctypes.data)
        for name, array in self._outputs.items():
            shape = (rows, *array.shape[1:])
            binding.bind_output(name, "cpu", 0, array.dtype, shape, array.ctypes.data)
        return _Bound(
            binding,
            self._item[:rows],
            self._action[:rows],
            self._gap[:rows],
            self._dense[:rows],
            self._hidden[:rows],
            self._log_z[:rows, 0],
        )

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
