"""Fixtures for every test folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.engine import OnnxEngine, open_engine
from tests.tiny_model import tiny_spec, write_tiny_model


@pytest.fixture(scope="session")
def tiny_engine_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., OnnxEngine]:
    """A factory of tiny engines: ``tiny_engine_with(features=("dwell",), hidden_width=4, seed=1)``;
    the keywords are fields of ModelSpec, and ``seed``. Equal calls give one engine."""
    engines: dict[str, OnnxEngine] = {}

    def make(seed: int = 0, **fields: object) -> OnnxEngine:
        key = f"{seed} {sorted(fields.items())}"
        if key not in engines:
            directory = tmp_path_factory.mktemp("tiny_model")
            engines[key] = open_engine(write_tiny_model(directory, tiny_spec(**fields), seed))
        return engines[key]

    return make


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an exported tiny model; tests that change it take a copy."""
    spec = tiny_spec(features=("hour_sin", "hour_cos", "dwell", "interval"))
    return write_tiny_model(tmp_path_factory.mktemp("tiny_model"), spec)


@pytest.fixture(scope="session")
def tiny_engine(tiny_model: Path) -> OnnxEngine:
    """30 items i0 .. i29, memory of 8 float16 numbers, four features, random seeded weights."""
    return open_engine(tiny_model)
