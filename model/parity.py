"""Whether a served step is the model: it agrees with the float64 reference, and with itself."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from model import reference
from model.checkpoint import Checkpoint
from model.log import Longs
from model.spec import Advance, Engine, Floats, Hidden, Ints, Memory, Tokens

# Distances are absolute below 1 and relative above: a log-probability of -20 has fewer digits.
TOLERANCE = {"float32": 1e-5, "float16": 2e-3}
# Of the logit scale, which no logit exceeds.
LOGIT_TOLERANCE = {"float32": 2.0**-19, "float16": 2.0**-9}

CUTS = (1, 2, 3, 5, 8, 13, 31)

# The reference holds float64 scores of all items for all users that are compared.
REFERENCE_SCORES = 1 << 22


class ParityError(ValueError):
    """A graph computes something else than the model; it must not be served."""

    exit_code: ClassVar[int] = 2


def tolerance_of(checkpoint: Checkpoint) -> float:
    """The distance that the memory's type explains.

    Rounding to float16 turns a query by at most 2**-11 of its length, and the errors of a few
    steps add up: a logit may move by the logit scale times four of those. With a float32 memory it
    is the sum of a logit's products that is rounded, by 2**-24 at a time: 32 of those are allowed.
    """
    dtype, scale = checkpoint.spec.memory_dtype, float(checkpoint.weights["logit_scale"])
    return max(TOLERANCE[dtype], scale * LOGIT_TOLERANCE[dtype])


def check_parity(checkpoint: Checkpoint, engine: Engine, steps: Sequence[Tokens]) -> float:
    """Largest distance between an engine with an exact scan, fed event by event with its own
    rounded memory, and the reference, whose memory is never rounded.

    Step t holds the t-th event of the first ``len(step.item)`` users. Raises ParityError beyond
    the tolerance of the memory's type.
    """
    spec, tolerance = checkpoint.spec, tolerance_of(checkpoint)
    users = min(len(steps[0].item), max(8, REFERENCE_SCORES // spec.item_count))
    memory = engine.initial(users)
    exact = Memory(np.tile(checkpoint.weights["initial_hidden"], (users, 1)), memory.log_z)
    worst = 0.0
    for at, step in enumerate(steps):
        tokens = rows_of(step, slice(0, users))
        rows = len(tokens.item)
        served = engine.advance(tokens, first_rows(memory, rows))
        wanted = reference.advance(spec, checkpoint.weights, tokens, first_rows(exact, rows))
        for name, distance in distances(served, wanted).items():
            if not distance <= tolerance:
                raise ParityError(
                    f"after {at + 1} events {name} of the served graph is {distance:.2g} off the "
                    f"reference, {tolerance:.2g} is allowed; nothing was exported"
                )
            worst = max(worst, distance)
        memory, exact = served.memory, wanted.memory
    return worst


def check_batching(engine: Engine, steps: Sequence[Tokens]) -> None:
    """Raise ParityError if a row's bits depend on the batch that it came in.

    It hangs on the kernels that ONNX Runtime picks for a processor, so every export asks anew.
    """
    memory = engine.initial(len(steps[0].item))
    for tokens in steps[:2]:
        rows = len(tokens.item)
        memory = first_rows(memory, rows)
        after = engine.advance(tokens, memory)
        whole = outputs_of(after)
        for size in CUTS:
            for start in range(0, rows, max(size, rows // 4)):
                part = slice(start, start + size)
                before = Memory(memory.hidden[part], memory.log_z[part])
                found = outputs_of(engine.advance(rows_of(tokens, part), before))
                for name, values in found.items():
                    if not np.array_equal(values, whole[name][part]):
                        raise ParityError(
                            f"{name} of a row changes bits between a batch of {size} and one of "
                            f"{rows} on this processor; nothing was exported"
                        )
        memory = after.memory


def outputs_of(result: Advance) -> dict[str, Floats | Hidden | Ints]:
    """All arrays of a step by name."""
    arrays = {name: getattr(result, name) for name in Advance.__struct_fields__[1:]}
    return arrays | {"hidden": result.memory.hidden, "log_z": result.memory.log_z}


def distances(served: Advance, wanted: Advance) -> dict[str, float]:
    """Per output the largest distance over all rows.

    ``top_items`` is judged by the scores of what was chosen: two items may share a score.
    """
    found, right = outputs_of(served), outputs_of(wanted)
    return {name: _distance(found[name], right[name]) for name in found if name != "top_items"}


def first_rows(memory: Memory, rows: int) -> Memory:
    return Memory(memory.hidden[:rows], memory.log_z[:rows])


def rows_of(tokens: Tokens, rows: slice | Longs) -> Tokens:
    return Tokens(tokens.item[rows], tokens.action[rows], tokens.gap[rows], tokens.dense[rows])


def _distance(served: Floats | Hidden | Ints, wanted: Floats | Hidden | Ints) -> float:
    right = wanted.astype(np.float64)
    gap = np.abs(served.astype(np.float64) - right) / np.maximum(1.0, np.abs(right))
    return float(gap.max(initial=0.0))
