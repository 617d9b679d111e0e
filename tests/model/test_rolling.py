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
    # Other numbers in the net than those that lie there: nothing of that is taken over.
    other = msgspec.structs.replace(SPEC, hidden_width=16)
    again = rolling(log, other, ITEMS, CONFIG, 1, 0.2, tmp_path / "whole")
    assert again == rolling(log, other, ITEMS, CONFIG, 1, 0.2, tmp_path / "other")
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


def test_folds_lie_side_by_side_and_are_of_one_size(tmp_path: Path) -> None:
    # As a float 0.15 / (1 - 4 * 0.15) of the first fold's 40 sessions is a hair less than 15.
    log = learnable_log(SPEC, users=50)
    found = rolling(log, SPEC, ITEMS, msgspec.structs.replace(CONFIG, epochs=1), 5, 0.15, tmp_path)
    begins = log.session_start[[25, 40, 55, 70, 85, 100]]
    assert [fold.learned_events for fold in found] == begins[:-1].tolist()
    assert [fold.begin_ms for fold in found] == log.at_ms[begins[:-1]].tolist()
    assert [fold.end_ms for fold in found] == log.at_ms[begins[1:] - 1].tolist()


def test_less_than_a_session_is_no_fold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"0\.001 of 120 sessions is less than one"):
        rolling(LOG, SPEC, ITEMS, CONFIG, 2, 0.001, tmp_path)


@pytest.mark.parametrize(("folds", "share"), [(0, 0.1), (4, 0.25), (2, 0.0)])
def test_folds_that_leave_nothing_are_refused(folds: int, share: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave nothing to learn from"):
        rolling(LOG, SPEC, ITEMS, CONFIG, folds, share, tmp_path)
