"""A served model: ONNX Runtime on one thread, one call a step, no torch in the process."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from safetensors import SafetensorError, safe_open

from model.checkpoint import Checkpoint, CheckpointError, load
from model.served import (
    CALIBRATION_FILE,
    GRAPH_FILE,
    GRAPH_FORMAT,
    MAX_GRAPH_BYTES,
    STEP_FILE,
    Step,
    digest_of,
    score_columns,
)
from model.spec import Advance, Floats, Memory, ModelSpec, Tokens, Vocabulary

# One call's scores of all items should stay in the processor's cache; beyond this many bytes a
# batch is cut into slices.
SCORE_BYTES = 2 << 20
SLICE_ROWS = (16, 256)


class EngineError(ValueError):
    """A folder that cannot be served, or a step that was asked for something impossible."""


class OnnxEngine:
    """Implements ``model.spec.Engine``; open one with ``open_engine``.

    Arrays given out belong to the caller: no later call writes into them. Parts of one result may
    be views of a common array. An engine may be used by one thread at a time.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        session: ort.InferenceSession,
        initial_log_z: float,
        calibration: Mapping[str, Floats],
    ) -> None:
        self._checkpoint = checkpoint.manifest
        self._vocabulary = checkpoint.vocabulary()
        self._calibration = dict(calibration)
        self._session = session
        spec = checkpoint.spec
        self._memory_dtype = np.dtype(spec.memory_dtype)
        self._initial_hidden = checkpoint.weights["initial_hidden"].astype(self._memory_dtype)
        self._initial_log_z = np.float32(initial_log_z)
        self._code_limits = np.array(
            [[spec.input_count], [len(spec.actions)], [spec.gap_count]], dtype=np.uint32
        )
        self._columns = score_columns(spec)
        self._slice_rows = slice_rows(spec)
        self._bindings: dict[int, ort.IOBinding] = {}
        rows, width = self._slice_rows, spec.hidden_width
        self._codes = np.zeros((3, rows), dtype=np.int32)
        self._dense = np.zeros((rows, len(spec.features)), dtype=np.float32)
        self._hidden = np.zeros((rows, width), dtype=self._memory_dtype)
        self._log_z = np.zeros(rows, dtype=np.float32)
        self._new_hidden = np.zeros((rows, width), dtype=self._memory_dtype)
        self._top_items = np.zeros((rows, spec.top_k), dtype=np.int32)
        self._scores = np.zeros((rows, sum(self._columns.values())), dtype=np.float32)

    @property
    def spec(self) -> ModelSpec:
        return self._checkpoint.spec

    @property
    def version(self) -> str:
        return f"{self._checkpoint.spec.name}-{self._checkpoint.fingerprint}"

    @property
    def fingerprint(self) -> bytes:
        return bytes.fromhex(self._checkpoint.fingerprint)

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    @property
    def calibration(self) -> Mapping[str, Floats]:
        return self._calibration

    def initial(self, rows: int) -> Memory:
        hidden = np.tile(self._initial_hidden, (rows, 1))
        return Memory(hidden, np.full(rows, self._initial_log_z, dtype=np.float32))

    def advance(self, tokens: Tokens, memory: Memory) -> Advance:
        """One step of B rows, any B. Raises EngineError for arrays of another shape or type, codes
        outside the spec, and wherever a NaN or an infinity comes in or out: a prediction that is
        no number must not reach a user's state.
        """
        rows = len(tokens.item)
        self._check(tokens, memory, rows)
        new_hidden = np.empty((rows, self.spec.hidden_width), dtype=self._memory_dtype)
        top_items = np.empty((rows, self.spec.top_k), dtype=np.int32)
        scores = np.empty((rows, self._scores.shape[1]), dtype=np.float32)
        for start in range(0, rows, self._slice_rows):
            end = min(start + self._slice_rows, rows)
            self._run(tokens, memory, start, end)
            new_hidden[start:end] = self._new_hidden[: end - start]
            top_items[start:end] = self._top_items[: end - start]
            scores[start:end] = self._scores[: end - start]
        if not np.isfinite(scores).all():
            row = int(np.argmin(np.isfinite(scores).all(axis=1)))
            raise EngineError(
                f"row {row} of {rows} has a score that is no number; its memory or its dense "
                "features hold NaN or huge values"
            )
        return self._advance(new_hidden, top_items, scores)

    def _advance(
        self, new_hidden: npt.NDArray[np.float32], top_items: npt.NDArray[np.int32], scores: Floats
    ) -> Advance:
        parts, start = {}, 0
        for name, width in self._columns.items():
            parts[name] = scores[:, start : start + width]
            start += width
        return Advance(
            memory=Memory(new_hidden, parts["log_z"][:, 0]),
            item_surprise=parts["item_surprise"][:, 0],
            action_surprise=parts["action_surprise"][:, 0],
            top_items=top_items,
            top_logp=parts["top_logp"],
            action_logp=parts["action_logp"],
            cart=parts["intent"][:, 0],
            purchase=parts["intent"][:, 1],
            gap_logp=parts["gap_logp"],
        )

    def _run(self, tokens: Tokens, memory: Memory, start: int, end: int) -> None:
        """Rows ``start .. end-1`` through the graph, into the first rows of the buffers."""
        rows = end - start
        self._codes[0, :rows] = tokens.item[start:end]
        self._codes[1, :rows] = tokens.action[start:end]
        self._codes[2, :rows] = tokens.gap[start:end]
        self._dense[:rows] = tokens.dense[start:end]
        self._hidden[:rows] = memory.hidden[start:end]
        self._log_z[:rows] = memory.log_z[start:end]
        # A negative code is a huge one when read as unsigned: one comparison for both ends.
        if not (self._codes[:, :rows].view(np.uint32) < self._code_limits).all():
            raise EngineError(self._which_code(start, rows))
        binding = self._bindings.get(rows)
        if binding is None:
            binding = self._bindings[rows] = self._bind(rows)
        self._session.run_with_iobinding(binding)

    def _bind(self, rows: int) -> ort.IOBinding:
        """Inputs and outputs bound to the first rows of the buffers; kept for every later batch of
        this size, because binding costs more than a small step."""
        binding = self._session.io_binding()
        inputs = {
            "item": self._codes[0],
            "action": self._codes[1],
            "gap": self._codes[2],
            "hidden": self._hidden,
            "log_z": self._log_z,
        }
        if self.spec.features:
            inputs["dense"] = self._dense
        outputs = {
            "new_hidden": self._new_hidden,
            "top_items": self._top_items,
            "scores": self._scores,
        }
        for bind, arrays in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, array in arrays.items():
                bind(name, "cpu", 0, array.dtype, (rows, *array.shape[1:]), array.ctypes.data)
        return binding

    def _check(self, tokens: Tokens, memory: Memory, rows: int) -> None:
        expected: tuple[tuple[str, npt.NDArray[np.generic], type | np.dtype[np.generic], int], ...]
        expected = (
            ("item", tokens.item, np.int32, 0),
            ("action", tokens.action, np.int32, 0),
            ("gap", tokens.gap, np.int32, 0),
            ("dense", tokens.dense, np.float32, self._dense.shape[1]),
            ("hidden", memory.hidden, self._memory_dtype, self._hidden.shape[1]),
            ("log_z", memory.log_z, np.float32, 0),
        )
        for name, array, dtype, width in expected:
            matrix = name in ("dense", "hidden")
            if array.dtype != dtype or array.shape != ((rows, width) if matrix else (rows,)):
                raise EngineError(
                    f"{name} is {array.dtype}{list(array.shape)}; {rows} rows of this model need "
                    f"{np.dtype(dtype)}{[rows, width] if matrix else [rows]}"
                )
        if not np.isfinite(tokens.dense).all():
            raise EngineError("dense holds NaN or infinity; features must be finite")

    def _which_code(self, start: int, rows: int) -> str:
        wrong = self._codes[:, :rows].view(np.uint32) >= self._code_limits
        kind, row = np.argwhere(wrong)[0]
        return (
            f"row {start + row} has {('item', 'action', 'gap')[kind]} code "
            f"{self._codes[kind, row]}; allowed are 0 to {self._code_limits[kind, 0] - 1}"
        )


def slice_rows(spec: ModelSpec) -> int:
    """How many rows one call of the graph takes."""
    fewest, most = SLICE_ROWS
    return int(np.clip(SCORE_BYTES // (4 * spec.item_count), fewest, most))


def open_engine(directory: Path) -> OnnxEngine:
    """Open an exported model folder, or raise EngineError with what is wrong and what to do."""
    try:
        checkpoint = load(directory)
    except CheckpointError as error:
        raise EngineError(str(error)) from None
    step = _read_step(directory)
    graph = _read(directory, GRAPH_FILE, MAX_GRAPH_BYTES)
    if step.format != GRAPH_FORMAT:
        raise EngineError(
            f"{directory / STEP_FILE} has format {step.format}, this version serves "
            f"{GRAPH_FORMAT}; export the model again"
        )
    if step.fingerprint != checkpoint.manifest.fingerprint or digest_of(graph) != step.graph_digest:
        raise EngineError(
            f"{directory} mixes files of different exports: {STEP_FILE} is of model "
            f"{step.fingerprint}, the weights are {checkpoint.manifest.fingerprint}; "
            "export the model again"
        )
    session = open_session(graph)
    metadata = session.get_modelmeta().custom_metadata_map
    served = (metadata.get("format"), metadata.get("fingerprint"))
    if served != (str(GRAPH_FORMAT), step.fingerprint):
        raise EngineError(
            f"{directory / GRAPH_FILE} says format {served[0]} and model {served[1]}, expected "
            f"{GRAPH_FORMAT} and {step.fingerprint}; export the model again"
        )
    return OnnxEngine(checkpoint, session, step.initial_log_z, _read_calibration(directory, step))


def open_session(graph: bytes) -> ort.InferenceSession:
    """A session on one thread that runs the nodes as they were written.

    No graph optimisation: the nodes are laid out by hand, and rewriting them would make the result
    depend on the version of ONNX Runtime. No memory pattern: it would keep one plan per batch size.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise EngineError(
            f"ONNX Runtime {ort.__version__} cannot open the graph ({error}); install version "
            "1.24 or newer, or export the model again"
        ) from error


def _read(directory: Path, name: str, limit_bytes: int) -> bytes:
    path = directory / name
    try:
        size = path.stat().st_size
        if size > limit_bytes:
            raise EngineError(f"{path} has {size} bytes; at most {limit_bytes} can be served")
        return path.read_bytes()
    except OSError as error:
        raise EngineError(
            f"{path} cannot be read ({error.strerror}); the model was trained but not exported, "
            "or not copied whole: export it, or copy the whole folder"
        ) from None


def _read_step(directory: Path) -> Step:
    try:
        return msgspec.json.decode(_read(directory, STEP_FILE, 1 << 20), type=Step)
    except msgspec.DecodeError as error:
        raise EngineError(
            f"{directory / STEP_FILE} is no description of a served step ({error}); "
            "export the model again"
        ) from None


def _read_calibration(directory: Path, step: Step) -> dict[str, Floats]:
    path = directory / CALIBRATION_FILE
    if not path.exists():
        return {}
    try:
        with safe_open(path, framework="numpy") as stored:
            metadata = stored.metadata() or {}
            scores = {kind: stored.get_tensor(kind) for kind in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise EngineError(f"{path} is no safetensors file ({error}); calibrate again") from None
    if metadata.get("fingerprint") != step.fingerprint:
        raise EngineError(
            f"{path} belongs to model {metadata.get('fingerprint')}, this is {step.fingerprint}; "
            "calibrate again, or delete the file to start uncalibrated"
        )
    return scores
