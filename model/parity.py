"""Whether a served step agrees with the float64 reference."""

from collections.abc import Sequence

import numpy as np

from model import reference
from model.checkpoint import Checkpoint
from model.spec import Advance, Engine, Hidden, Ints, Memory, ModelSpec, Tokens

# Distances are absolute below 1 and relative above: a log-probability of -20 has fewer digits.
TOLERANCE = {"float32": 1e-5, "float16": 2e-3}

SCORES = ("item_surprise", "action_surprise", "top_logp", "action_logp", "cart", "purchase")


class ParityError(ValueError):
    """A graph computes something else than the model; it must not be served."""


def check_parity(checkpoint: Checkpoint, engine: Engine, steps: Sequence[Tokens]) -> float:
    """Largest distance between an engine fed step by step with its own rounded memory and the
    reference whose memory is never rounded. Raises ParityError beyond the tolerance.

    Step t holds the t-th event of the first ``len(step.item)`` users.
    """
    spec, tolerance = checkpoint.spec, TOLERANCE[checkpoint.spec.memory_dtype]
    users = len(steps[0].item)
    memory = engine.initial(users)
    unrounded = np.tile(checkpoint.weights["initial_hidden"], (users, 1))
    exact = Memory(unrounded, memory.log_z)
    worst = 0.0
    for at, tokens in enumerate(steps):
        rows = len(tokens.item)
        served = engine.advance(tokens, Memory(memory.hidden[:rows], memory.log_z[:rows]))
        wanted = reference.advance(
            spec, checkpoint.weights, tokens, Memory(exact.hidden[:rows], exact.log_z[:rows])
        )
        for name, distance in distances(served, wanted).items():
            if not distance <= tolerance:
                raise ParityError(
                    f"after {at + 1} events {name} of the served graph is {distance:.2g} off the "
                    f"reference, {tolerance} is allowed; the model was not exported"
                )
            worst = max(worst, distance)
        memory, exact = served.memory, wanted.memory
    return worst


def distances(served: Advance, wanted: Advance) -> dict[str, float]:
    """Per output the largest distance over all rows.

    ``top_items`` is judged by the scores of what was chosen: two items may share a score.
    """
    pairs = {name: (getattr(served, name), getattr(wanted, name)) for name in (*SCORES, "gap_logp")}
    pairs["hidden"] = (served.memory.hidden, wanted.memory.hidden)
    pairs["log_z"] = (served.memory.log_z, wanted.memory.log_z)
    return {name: _distance(*pair) for name, pair in pairs.items()}


def random_tokens(spec: ModelSpec, rows: int, length: int, seed: int) -> list[Tokens]:
    """Successive random events of ``rows`` users, ``length`` each."""
    rng = np.random.default_rng(seed)

    def codes(count: int) -> Ints:
        return rng.integers(0, count, rows, dtype=np.int32)

    return [
        Tokens(
            item=codes(spec.input_count),
            action=codes(len(spec.actions)),
            gap=codes(spec.gap_count),
            dense=rng.standard_normal((rows, len(spec.features)), dtype=np.float32),
        )
        for _ in range(length)
    ]


def _distance(served: Hidden, wanted: Hidden) -> float:
    gap = np.abs(served.astype(np.float64) - wanted) / np.maximum(1.0, np.abs(wanted))
    return float(gap.max(initial=0.0))
