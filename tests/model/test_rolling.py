"""Rolling validation: what is asked comes after what is learned, in every fold."""

from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from model.config import ConfigError, TrainConfig
from model.resume import Position
from model.rolling import rolling, table
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of()
ITEMS = tuple("abcdef")
LOG = learnable_log(SPEC, users=60)
CONFIG = TrainConfig(epochs=4, batch_sequences=16, learning_rate=1e-2, patience=2, save_every=3)


def test_folds_roll_on_and_a_killed_validation_ends_as_a_whole_one(tmp_path: Path) -> None:
    # Sessions of many users at the same time, as in a stream.
    rng = np.random.default_rng(1)
    begins = np.sort(rng.integers(0, 10**6, LOG.sessions))
    shift = np.repeat(begins, np.diff(LOG.session_start))
    log = msgspec.structs.replace(LOG, at_ms=shift + np.arange(LOG.events))
    whole = rolling(log, SPEC, ITEMS, CONFIG, 3, 0.2, tmp_path / "whole")
    assert [fold.begin_ms for fold in whole] == sorted(fold.begin_ms for fold in whole)
    assert all(one.end_ms <= other.end_ms for one, other in pairwise(whole))
    learned = [fold.learned_events for fold in whole]
    assert learned[0] < learned[1] < learned[2] < log.events
    assert all(fold.mrr_at_20 > 0.4 for fold in whole)
    seen = 0

    def kill(position: Position) -> None:
        nonlocal seen
        seen += 1
        if seen == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rolling(log, SPEC, ITEMS, CONFIG, 3, 0.2, tmp_path / "cut", on_batch=kill)
    assert rolling(log, SPEC, ITEMS, CONFIG, 3, 0.2, tmp_path / "cut") == whole
    console = Console(record=True, width=120)
    console.print(table(whole))
    assert "mean ± spread" in console.export_text()


@pytest.mark.parametrize(("folds", "share"), [(0, 0.1), (4, 0.25), (2, 0.0)])
def test_folds_that_leave_nothing_are_refused(folds: int, share: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave nothing to learn from"):
        rolling(LOG, SPEC, ITEMS, CONFIG, folds, share, tmp_path)
