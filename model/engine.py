"""A served model: ONNX Runtime on one thread, no torch in the process."""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from model.bound_graph import SessionError
from model.calibration import CalibrationError, read_calibration
from model.checkpoint import Checkpoint, CheckpointError, load, scaled_directions
from model.scan_index import ScanIndex, read_index
from model.served import (
    GRAPH_FILES,
    GRAPH_FORMAT,
    INDEX_FILE,
    MAX_GRAPH_BYTES,
    STEP_FILE,
    Graphs,
    Step,
    columns_of,
    digest_of,
    score_columns,
)
from model.session import StepSession
from model.spec import (
    Advance,
    Floats,
    Hidden,
    Ints,
    Memory,
    ModelSpec,
    Rounds,
    Tokens,
    Vocabulary,
)

_INT, _FLOAT = np.dtype(np.int32), np.dtype(np.float32)


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
        self._columns = columns_of(spec)
        self._dtypes = (_INT, _INT, _INT, _FLOAT, self._memory_dtype, _FLOAT)

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

    def advance(self, tokens: Tokens, memory: Memory, rounds: Rounds = ()) -> Advance:
        """As ``Engine.advance`` has it. Raises EngineError for arrays of another shape or type,
        codes outside the spec, rounds that are none, and wherever a NaN or an infinity goes in or
        comes out: what is no number must not reach a user's state.
        """
        rows, session = len(tokens.item), self._session
        sizes = rounds or (rows,)
        self._check(tokens, memory, rows, sizes)
        if len(sizes) == 1 and rows <= session.rows:
            after, top_items, scores = session.step(tokens, memory.hidden)
        else:
            before, after = session.recur(tokens, memory.hidden, sizes)
            top_items, scores = session.read_out(tokens, before, after)
        self._price(tokens.item, memory.log_z, scores, sizes)
        # A NaN or an infinity anywhere makes the sum one; the sum is the cheapest question.
        if not math.isfinite(np.add.reduce(scores, axis=None)):
            self._refuse_scores(scores)
        return self._advance(after, top_items, scores)

    def _price(self, item: Ints, log_z: Floats, scores: Floats, rounds: Rounds) -> None:
        """Make surprises of the items' logits: ``log_z`` [B] is of the memories that B users had,
        what later tokens met is in ``scores`` [N, W]."""
        if len(rounds) > 1:
            log_z = _met(log_z, scores[:, self._columns["log_z"]], rounds)
        surprise = scores[:, self._columns["item_surprise"]]
        np.subtract(log_z, surprise, out=surprise)
        surprise *= item < self._spec.item_count

    def _advance(self, new_hidden: Hidden, top_items: Ints, scores: Floats) -> Advance:
        part = self._columns
        return Advance(
            memory=Memory(new_hidden, scores[:, part["log_z"]]),
            item_surprise=scores[:, part["item_surprise"]],
            action_surprise=scores[:, part["action_surprise"]],
            top_items=top_items,
            top_logp=scores[:, part["top_logp"]],
            action_logp=scores[:, part["action_logp"]],
            cart=scores[:, part["cart"]],
            purchase=scores[:, part["purchase"]],
            gap_logp=scores[:, part["gap_logp"]],
        )

    def _check(self, tokens: Tokens, memory: Memory, rows: int, rounds: Rounds) -> None:
        spec, users = self._spec, rounds[0]
        is_one = len(rounds) == 1 and users == rows
        if not is_one and (sum(rounds) != rows or any(b < a for a, b in pairwise(rounds[::-1]))):
            raise EngineError(f"{rows} tokens do not come in rounds of {list(rounds)}")
        hidden, log_z = memory.hidden, memory.log_z
        arrays = (tokens.item, tokens.action, tokens.gap, tokens.dense, hidden, log_z)
        shapes: tuple[tuple[int, ...], ...] = ((rows,), (rows,), (rows,))
        shapes += ((rows, len(spec.features)), (users, spec.hidden_width), (users,))
        if (
            tuple([array.dtype for array in arrays]) != self._dtypes
            or tuple([array.shape for array in arrays]) != shapes
        ):
            self._refuse_arrays(arrays, shapes)
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

    def _refuse_arrays(self, arrays: tuple[Any, ...], shapes: tuple[tuple[int, ...], ...]) -> None:
        names = ("item", "action", "gap", "dense", "hidden", "log_z")
        for name, array, dtype, shape in zip(names, arrays, self._dtypes, shapes, strict=True):
            if array.shape != shape or array.dtype != dtype:
                raise EngineError(
                    f"{name} is {array.dtype}{list(array.shape)}; {shape[0]} rows of model "
                    f"{self._spec.name} need {dtype}{list(shape)}"
                )

    def _refuse_scores(self, scores: Floats) -> None:
        row, column = np.argwhere(~np.isfinite(scores))[0]
        ends = np.cumsum(list(score_columns(self._spec).values()))
        name = list(score_columns(self._spec))[int(np.searchsorted(ends, column, side="right"))]
        raise EngineError(
            f"row {row} of {len(scores)} got {scores[row, column]} as {name}: its memory holds NaN "
            "or infinity, or its features are huge; such a state cannot be used further"
        )


def _met(first: Floats, left: Floats, rounds: Rounds) -> Floats:
    """What N tokens met [N], of what B users had first and what each of the tokens left."""
    if len(rounds) == 1:
        return first
    met, start, behind = np.empty_like(left), rounds[0], 0
    met[:start] = first
    for size in rounds[1:]:
        met[start : start + size] = left[behind : behind + size]
        behind, start = start, start + size
    return met


def open_engine(directory: Path) -> OnnxEngine:
    """Open an exported model folder, or raise EngineError with what is wrong and what to do."""
    try:
        checkpoint = load(directory)
    except CheckpointError as error:
        raise EngineError(str(error)) from None
    step = _read_step(directory)
    graphs = Graphs(*(_read(directory, name, MAX_GRAPH_BYTES) for name in GRAPH_FILES))
    if step.fingerprint != checkpoint.manifest.fingerprint:
        raise EngineError(
            f"{directory / STEP_FILE} is of model {step.fingerprint}, the weights beside it are "
            f"{checkpoint.manifest.fingerprint}; export the model again"
        )
    if graphs.digests() != step.graph_digests:
        raise EngineError(
            f"{_named(directory)} are not the files that {STEP_FILE} describes; "
            "export the model again, or copy the folder again"
        )
    index = _read_index(directory, step, checkpoint)
    try:
        session = StepSession(graphs, checkpoint.spec, index)
    except SessionError as error:
        raise EngineError(f"{_named(directory)}: {error}; export the model again") from error
    for name, metadata in zip(GRAPH_FILES, session.metadata, strict=True):
        told = (metadata.get("format"), metadata.get("fingerprint"))
        if told != (str(GRAPH_FORMAT), step.fingerprint):
            raise EngineError(
                f"{directory / name} names format {told[0]} and model {told[1]}, expected were "
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


def _named(directory: Path) -> str:
    return " and ".join(str(directory / name) for name in GRAPH_FILES)


class _Format(msgspec.Struct):
    format: int


def _read_step(directory: Path) -> Step:
    content = _read(directory, STEP_FILE, 1 << 20)
    try:
        found = msgspec.json.decode(content, type=_Format).format
        if found != GRAPH_FORMAT:
            raise EngineError(
                f"{directory / STEP_FILE} has format {found}, this version serves "
                f"{GRAPH_FORMAT}; export the model again"
            )
        return msgspec.json.decode(content, type=Step)
    except msgspec.DecodeError as error:
        raise EngineError(
            f"{directory / STEP_FILE} describes no served step ({error}); export the model again"
        ) from None
