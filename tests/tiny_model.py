"""A tiny model with seeded random weights, exported by the real exporter: for tests of the core."""

from pathlib import Path

import numpy as np

from model.checkpoint import save
from model.export import export
from model.net_shape import weight_shapes
from model.served import ScanName
from model.spec import Floats, ModelSpec

ACTIONS = ("_close", "other", "view", "cart", "purchase", "search")


def tiny_spec(features: tuple[str, ...] = (), **fields: object) -> ModelSpec:
    """30 items ``i0`` .. ``i29``, memory of 8 numbers; any field may be given anew."""
    defaults: dict[str, object] = {
        "name": "tiny",
        "actions": ACTIONS,
        "item_count": 30,
        "hidden_width": 8,
        "features": features,
        "gap_edges_ms": (10_000, 60_000, 600_000),
        "top_k": 20,
    }
    return ModelSpec(**(defaults | fields))  # type: ignore[arg-type]


def random_weights(spec: ModelSpec, seed: int = 0) -> dict[str, Floats]:
    """Seeded weights, lively enough that every token moves the memory."""
    rng = np.random.default_rng(seed)
    weights = {
        name: 0.4 * rng.standard_normal(shape, dtype=np.float32)
        for name, shape in weight_shapes(spec).items()
    }
    for name in ("gru.weight_ih", "gru.weight_hh"):
        weights[name] *= 2.5 / np.sqrt(np.float32(spec.hidden_width))
    weights["logit_scale"] = np.array(8.0, dtype=np.float32)
    return weights


def write_tiny_model(
    directory: Path, spec: ModelSpec, seed: int = 0, scan: ScanName | None = None
) -> Path:
    """Save and export a tiny model; ``model.engine.open_engine`` opens the folder."""
    items = [f"i{code}" for code in range(spec.item_count)]
    save(directory, spec, items, random_weights(spec, seed))
    export(directory, scan=scan)
    return directory
