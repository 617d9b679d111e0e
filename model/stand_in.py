"""Random events that stand in for held-out ones where only arithmetic and time are in question."""

import numpy as np

from model.spec import Ints, ModelSpec, Tokens


def random_tokens(spec: ModelSpec, rows: int, length: int, seed: int) -> list[Tokens]:
    """Successive events of ``rows`` users, ``length`` each; every code may come."""
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
