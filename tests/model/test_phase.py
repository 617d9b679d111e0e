"""A phase stops where the held-out figures say so, and gives the best epoch's weights."""

from pathlib import Path

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.config import TrainConfig
from model.fit import Fitting
from model.holdout import hold_out
from model.phase import CHOOSE, FINAL, Exam, Phase, Watcher, best_epoch, run_phase
from model.questions import questions_of
from model.resume import Arrays, EpochRecord, Position
from model.training_log import TrainingLog
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of()
LOG = learnable_log(SPEC)
CONFIG = TrainConfig(epochs=3, threads=1, batch_sequences=16, learning_rate=1e-2, save_every=5)


def record(epoch: int, mrr: float | None, phase: str = CHOOSE) -> EpochRecord:
    return EpochRecord(phase, epoch, 1.0, 1.0, 1.0, mrr, mrr)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_the_best_epoch_is_the_first_of_the_highest(levels: list[int]) -> None:
    history = [record(n + 1, level / 4) for n, level in enumerate(levels)]
    history.append(record(1, None, FINAL))
    assert best_epoch(history) == levels.index(max(levels)) + 1


def test_weights_of_the_best_epoch_are_given_and_every_save_can_be_taken_up(
    tmp_path: Path,
) -> None:
    saved: list[tuple[Position, Arrays]] = []

    def keep(position: Position, arrays: Arrays) -> None:
        saved.append((position, {name: array.copy() for name, array in arrays.items()}))

    held = hold_out(LOG, 0.25)
    exam = Exam(LOG, questions_of(LOG, SPEC, "session", held.late))
    phase = Phase(CHOOSE, held.early, CONFIG.epochs, exam)
    begin = Position(CHOOSE)
    with TrainingLog(tmp_path, None, 0) as shown:
        watcher = Watcher(shown, keep, lambda: 0.0, lambda position: None)
        weights, end = run_phase(phase, SPEC, CONFIG, begin, {}, watcher)
        first_saved = tuple(saved)
        for position, arrays in first_saved:
            again, end_again = run_phase(phase, SPEC, CONFIG, position, arrays, watcher)
            assert end_again == end
            for name, array in weights.items():
                np.testing.assert_array_equal(again[name], array)
    best = best_epoch(end.history)
    at_best = next(a for p, a in first_saved if p.epoch == best and p.batch == 0)
    np.testing.assert_array_equal(at_best["net.item_embedding"], weights["item_embedding"])
    assert [p.epoch for p, _ in first_saved if p.batch == 0] == [1, 2, 3]


def test_positions_count_the_events_and_the_time(tmp_path: Path) -> None:
    ticks = iter(range(10_000))
    seen: list[Position] = []
    config = msgspec.structs.replace(CONFIG, epochs=1)
    with TrainingLog(tmp_path, None, 0) as shown:
        watcher = Watcher(shown, lambda position, arrays: None, lambda: next(ticks), seen.append)
        _, end = run_phase(Phase(FINAL, LOG, 1), SPEC, config, Position(FINAL), {}, watcher)
    batches = len(Fitting(LOG, SPEC, config, 1).batches(0))
    assert [position.batch for position in seen] == list(range(1, batches + 1))
    assert seen[-1].events == LOG.events
    assert seen[-1].seconds == batches
    assert end.history[0].events_per_second == LOG.events / batches
