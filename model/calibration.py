"""Held-out anomaly scores that a model ships: verdicts are calibrated from the first event."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model.checkpoint import load, write_atomically
from model.served import CALIBRATION_FILE
from model.spec import Floats

MOST_SCORES = 65_536  # per alert kind


class CalibrationError(ValueError):
    """Scores that are none, or a file that belongs to another model."""

    exit_code: ClassVar[int] = 2


def save_calibration(model_dir: Path, scores: Mapping[str, npt.ArrayLike]) -> dict[str, Floats]:
    """Store the scores of each alert kind beside the model, ascending, and return what was stored.

    Beyond MOST_SCORES of a kind evenly spaced order statistics stay, the smallest and the largest
    among them, so that quantiles move by less than 1 / MOST_SCORES.
    """
    stored = {kind: _thinned(kind, np.asarray(values)) for kind, values in scores.items()}
    metadata = {"fingerprint": load(model_dir).manifest.fingerprint}
    write_atomically(model_dir / CALIBRATION_FILE, save(stored, metadata=metadata))
    return stored


def read_calibration(model_dir: Path, fingerprint: str) -> dict[str, Floats]:
    """What ``save_calibration`` stored; nothing where it was never called."""
    path = model_dir / CALIBRATION_FILE
    if not path.exists():
        return {}
    try:
        with safe_open(path, framework="numpy") as stored:
            of_model = (stored.metadata() or {}).get("fingerprint")
            scores = {kind: stored.get_tensor(kind) for kind in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CalibrationError(
            f"{path} is no safetensors file ({error}); calibrate again, or delete it"
        ) from None
    if of_model != fingerprint:
        raise CalibrationError(
            f"{path} is of model {of_model}, this is {fingerprint}; calibrate again, or delete it "
            "to start uncalibrated"
        )
    return scores


def _thinned(kind: str, values: npt.NDArray[np.generic]) -> Floats:
    scores: Floats = np.sort(values.astype(np.float32).reshape(-1))
    if not np.isfinite(scores).all():
        raise CalibrationError(f"the scores of {kind} hold NaN or infinity; they must be finite")
    if len(scores) <= MOST_SCORES:
        return scores
    return scores[np.linspace(0, len(scores) - 1, MOST_SCORES).round().astype(np.int64)]
