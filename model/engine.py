"""A served model: ONNX Runtime on one thread, one call a step, no torch in the process."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np

from model.calibration import CalibrationError, read_calibration
from model.checkpoint import Checkpoint, CheckpointError, load, scaled_directions
from model.scan_index import ScanIndex, read_index
from model.served import (
    GRAPH_FILE,
    GRAPH_FORMAT,
    INDEX_FILE,
    MAX_GRAPH_BYTES,
    STEP_FILE,
    Step,
    digest_of,
    score_columns,
)
from model.session import SessionError, StepSession
from model.spec import Advance, Floats, Hidden, Ints, Memory, ModelSpec, Tokens, Vocabulary


class EngineError(ValueError):
    """A folder that cannot be served, or a step that was asked for something impossible."""

    exit_code: ClassVar[int] = 2


class OnnxEngine:
    """Implements ``model.spec.Engine``; ``open_engine`` makes one.

    Arrays given out belong to the caller: no later call writes into them. Parts of one result are
    views of a common array. One thread at a time may use an engine.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        session: StepSession,
        initial_log_z: float,
        calibration: Mapping[str, Floats],
    ) -> None:
        spec = checkpoint.spec
        self._spec = spec
        self._fingerprint = checkpoint.fingerprint
        self._version = f"{spec.name}-{self._fingerprint.hex()}"
        self._vocabulary = checkpoint.vocabulary()
        self._calibration = dict(calibration)
        self._session = session
        self._memory_dtype = np.dtype(spec.memory_dtype)
        self._initial_hidden: Hidden = checkpoint.weights["initial_hidden"].astype(
            self._memory_dtype
        )
        self._initial_log_z = np.float32(initial_log_z)
        ends = np.cumsum(list(score_columns(spec).values())).tolist()
        self._parts = {
            name: slice(start, end)
            for name, start, end in zip(score_columns(spec), [0, *ends], ends, strict=False)
        }

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def version(self) -> str:
        return self._version

    @property
    def fingerprint(self) -> bytes:
        return self._fingerprint

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    @property
    def calibration(self) -> Mapping[str, Floats]:
        return self._calibration

    @property
    def scan_recall(self) -> float | None:
        """Share of the exact best items that were found where that was looked at; None where it was
        not yet, and never is: all items are scanned, or not too many."""
        probe = self._session.probe
        return None if probe is None else probe.recall()

    def initial(self, rows: int) -> Memory:
        hidden: Hidden = np.empty((rows, self._spec.hidden_width), self._memory_dtype)
        hidden[:] = self._initial_hidden
        return Memory(hidden, np.full(rows, self._initial_log_z, dtype=np.float32))

    def advance(self, tokens: Tokens, memory: Memory) -> Advance:
        """One step of B rows, any B. Raises EngineError for arrays of another shape or type, codes
        outside the spec, and wherever a NaN or an infinity goes in or comes out: what is no number
        must not reach a user's state.
        """
        rows, session = len(tokens.item), self._session
        self._check(tokens, memory, rows)
        new_hidden: Hidden = np.empty((rows, self._spec.hidden_width), self._memory_dtype)
        top_items: Ints = np.empty((rows, self._spec.top_k), np.int32)
        scores: Floats = np.empty((rows, session.scores.shape[1]), np.float32)
        for start in range(0, rows, session.rows):
            end = min(start + session.rows, rows)
            session.run(tokens, memory, start, end)
            new_hidden[start:end] = session.new_hidden[: end - start]
            top_items[start:end] = session.top_items[: end - start]
            scores[start:end] = session.scores[: end - start]
        # A NaN or an infinity anywhere makes the sum one; the sum is the cheapest question.
        if not math.isfinite(np.add.reduce(scores, axis=None)):
            self._refuse_scores(scores)
        return self._advance(new_hidden, top_items, scores)

    def _advance(self, new_hidden: Hidden, top_items: Ints, scores: Floats) -> Advance:
        part = {name: scores[:, columns] for name, columns in self._parts.items()}
        return Advance(
            memory=Memory(new_hidden, part["log_z"][:, 0]),
            item_surprise=part["item_surprise"][:, 0],
            action_surprise=part["action_surprise"][:, 0],
            top_items=top_items,
            top_logp=part["top_logp"],
            action_logp=part["action_logp"],
            cart=part["intent"][:, 0],
            purchase=part["intent"][:, 1],
            gap_logp=part["gap_logp"],
        )

    def _check(self, tokens: Tokens, memory: Memory, rows: int) -> None:
        spec = self._spec
        for name, array, dtype, shape in (
            ("item", tokens.item, np.int32, (rows,)),
            ("action", tokens.action, np.int32, (rows,)),
            ("gap", tokens.gap, np.int32, (rows,)),
            ("dense", tokens.dense, np.float32, (rows, len(spec.features))),
            ("hidden", memory.hidden, self._memory_dtype, (rows, spec.hidden_width)),
            ("log_z", memory.log_z, np.float32, (rows,)),
        ):
            if array.shape != shape or array.dtype != dtype:
                raise EngineError(
                    f"{name} is {array.dtype}{list(array.shape)}; {rows} rows of model "
                    f"{spec.name} need {np.dtype(dtype)}{list(shape)}"
                )
        for name, codes, count in (
            ("item", tokens.item, spec.input_count),
            ("action", tokens.action, len(spec.actions)),
            ("gap", tokens.gap, spec.gap_count),
        ):
            # Read as unsigned a negative code is a huge one: one question for both ends.
            if np.maximum.reduce(codes.view(np.uint32), initial=0) >= count:
                row = int(np.argmax(codes.view(np.uint32)))
                raise EngineError(
                    f"row {row} has {name} code {codes[row]}; allowed are 0 to {count - 1}"
                )
        if spec.features and not math.isfinite(np.add.reduce(tokens.dense, axis=None)):
            raise EngineError("dense holds NaN, infinity or huge numbers; features must be finite")

    def _refuse_scores(self, scores: Floats) -> None:
        row, column = np.argwhere(~np.isfinite(scores))[0]
        name = next(name for name, part in self._parts.items() if column < part.stop)
        raise EngineError(
            f"row {row} of {len(scores)} got {scores[row, column]} as {name}: its memory holds NaN "
            "or infinity, or its features are huge; such a state cannot be used further"
        )


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
    if step.fingerprint != checkpoint.manifest.fingerprint:
        raise EngineError(
            f"{directory / STEP_FILE} is of model {step.fingerprint}, the weights beside it are "
            f"{checkpoint.manifest.fingerprint}; export the model again"
        )
    if digest_of(graph) != step.graph_digest:
        raise EngineError(
            f"{directory / GRAPH_FILE} is not the file that {STEP_FILE} describes; "
            "export the model again, or copy the folder again"
        )
    index = _read_index(directory, step, checkpoint)
    try:
        session = StepSession(graph, checkpoint.spec, index)
    except SessionError as error:
        raise EngineError(f"{directory / GRAPH_FILE}: {error}; export the model again") from error
    named = (session.metadata.get("format"), session.metadata.get("fingerprint"))
    if named != (str(GRAPH_FORMAT), step.fingerprint):
        raise EngineError(
            f"{directory / GRAPH_FILE} names format {named[0]} and model {named[1]}, expected were "
            f"{GRAPH_FORMAT} and {step.fingerprint}; export the model again"
        )
    try:
        calibration = read_calibration(directory, step.fingerprint)
    except CalibrationError as error:
        raise EngineError(str(error)) from None
    return OnnxEngine(checkpoint, session, step.initial_log_z, calibration)


def _read(directory: Path, name: str, limit_bytes: int) -> bytes:
    path = directory / name
    try:
        size = path.stat().st_size
        if size > limit_bytes:
            raise EngineError(f"{path} has {size} bytes, at most {limit_bytes} can be served")
        return path.read_bytes()
    except OSError as error:
        raise EngineError(
            f"{path} cannot be read ({error.strerror}): the model was trained but not exported, "
            "or its folder not copied whole; export it, or copy the folder again"
        ) from None


def _read_index(directory: Path, step: Step, checkpoint: Checkpoint) -> ScanIndex | None:
    """The index of a scan that has one."""
    if step.scan != "projected":
        return None
    content = _read(directory, INDEX_FILE, MAX_GRAPH_BYTES)
    if digest_of(content) != step.index_digest:
        raise EngineError(
            f"{directory / INDEX_FILE} is not the file that {STEP_FILE} describes; "
            "export the model again, or copy the folder again"
        )
    try:
        return read_index(content, scaled_directions(checkpoint.spec, checkpoint.weights))
    except ValueError as error:
        raise EngineError(f"{directory / INDEX_FILE}: {error}; export the model again") from None


def _read_step(directory: Path) -> Step:
    try:
        return msgspec.json.decode(_read(directory, STEP_FILE, 1 << 20), type=Step)
    except msgspec.DecodeError as error:
        raise EngineError(
            f"{directory / STEP_FILE} describes no served step ({error}); export the model again"
        ) from None
