"""Scores come back ascending, thinned without losing their quantiles, and only to their model."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.calibration import (
    MOST_SCORES,
    CalibrationError,
    _thinned,
    read_calibration,
    save_calibration,
)
from model.checkpoint import load
from model.engine import open_engine
from model.export import export


@pytest.fixture
def model_dir(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_the_engine_gives_out_what_was_saved(model_dir: Path) -> None:
    assert open_engine(model_dir).calibration == {}
    save_calibration(model_dir, {"surprise": [3.0, 1.0, 2.0], "session_close": []})
    found = open_engine(model_dir).calibration
    assert {kind: scores.tolist() for kind, scores in found.items()} == {
        "surprise": [1.0, 2.0, 3.0],
        "session_close": [],
    }
    assert all(scores.dtype == np.float32 for scores in found.values())


@given(st.integers(MOST_SCORES + 1, 4 * MOST_SCORES), st.integers(0, 2**31))
def test_thinning_keeps_the_ends_and_the_quantiles(count: int, seed: int) -> None:
    values = np.random.default_rng(seed).permutation(count).astype(np.float32)
    kept = _thinned("kind", values)
    assert len(kept) == MOST_SCORES
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert (np.diff(kept) > 0).all()
    even = np.linspace(0, count - 1, MOST_SCORES)
    assert np.abs(kept - even).max() <= 1


def test_few_scores_stay_as_they_are() -> None:
    assert _thinned("kind", np.array([2.5, -1.0, 2.5])).tolist() == [-1.0, 2.5, 2.5]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(model_dir: Path, wrong: float) -> None:
    with pytest.raises(CalibrationError, match="surprise hold NaN or infinity"):
        save_calibration(model_dir, {"surprise": [1.0, wrong]})
    assert open_engine(model_dir).calibration == {}


def test_a_calibration_serves_its_own_model_only(model_dir: Path) -> None:
    save_calibration(model_dir, {"surprise": [1.0]})
    own = load(model_dir).manifest.fingerprint
    assert list(read_calibration(model_dir, own)) == ["surprise"]
    with pytest.raises(CalibrationError, match="calibrate again"):
        read_calibration(model_dir, "00" * 8)


def test_an_export_keeps_the_calibration_of_its_model(model_dir: Path) -> None:
    save_calibration(model_dir, {"surprise": [1.0]})
    export(model_dir)
    assert list(open_engine(model_dir).calibration) == ["surprise"]
