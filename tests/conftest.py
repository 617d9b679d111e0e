"""Fixtures and rules for every test folder."""

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from model.engine import OnnxEngine, open_engine
from model.served import ScanName
from tests.tiny_model import tiny_spec, write_tiny_model

pytest_plugins = ["tests.kafka_fixtures"]

# How long one example takes says more about the machine than about the code.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _unskipped(report: Report) -> Report:
    """With CI=true a skipped test is a failed one: there everything that tests need is there."""
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"{reason} (with CI=true nothing is skipped)"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _unskipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _unskipped((yield))


@pytest.fixture(scope="session")
def tiny_engine_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., OnnxEngine]:
    """A factory of tiny engines: ``tiny_engine_with(features=("dwell",), hidden_width=4, seed=1)``;
    the keywords are fields of ModelSpec, ``seed`` and ``scan``. Equal calls give one engine."""
    engines: dict[str, OnnxEngine] = {}

    def make(seed: int = 0, scan: ScanName | None = None, **fields: object) -> OnnxEngine:
        key = f"{seed} {scan} {sorted(fields.items())}"
        if key not in engines:
            directory = tmp_path_factory.mktemp("tiny_model")
            engines[key] = open_engine(write_tiny_model(directory, tiny_spec(**fields), seed, scan))
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
