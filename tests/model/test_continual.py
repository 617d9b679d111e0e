"""Days that contradict each other: what replay and held weights keep, plain fine-tuning forgets."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from model import checkpoint
from model.checkpoint import Checkpoint
from model.config import ConfigError, TrainConfig
from model.continual import (
    REPORT_FILE,
    ContinualConfig,
    Course,
    Day,
    course_table,
    finish,
    joined,
    learn_days,
    recoded,
)
from model.data import check_log
from model.engine import open_engine
from model.log import EventLog
from model.resume import Position
from model.spec import Vocabulary
from model.train import train
from tests.model.logs import log_of, spec_of

COUNT = 80
ITEMS = tuple(f"item{number}" for number in range(COUNT))
SPEC = msgspec.structs.replace(spec_of(items=COUNT, width=24), top_k=20)
FAST = TrainConfig(epochs=6, batch_sequences=16, learning_rate=2e-2, save_every=5)
KEPT = ContinualConfig(replay_share=1.0, ewc=1.0)
PLAIN = ContinualConfig(replay_share=0.0, ewc=0.0)


def day(first: int, last: int, step: int, seed: int, users: int = 120) -> EventLog:
    """Users who walk through the items ``first .. last-1`` in a fixed stride."""
    rng, count, sessions = np.random.default_rng(seed), last - first, []
    for _ in range(users):
        at = int(rng.integers(count))
        sessions.append([[(first + (at + step * n) % count, 2) for n in range(6)]])
    return log_of(sessions, SPEC)


# The same items in another stride each day.
DAYS = [
    Day("monday", day(0, COUNT, 7, seed=0), COUNT),
    Day("tuesday", day(0, COUNT, 11, seed=1), COUNT),
    Day("wednesday", day(0, COUNT, 29, seed=2), COUNT),
]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("earlier")
    train(DAYS[0].log, SPEC, ITEMS, msgspec.structs.replace(FAST, epochs=1), folder)
    return checkpoint.load(folder)


@pytest.fixture(scope="module")
def courses(earlier: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> list[Course]:
    out = tmp_path_factory.mktemp("days")
    kept = learn_days(earlier, DAYS, SPEC, ITEMS, FAST, KEPT, "replay", out)
    plain = learn_days(earlier, DAYS, SPEC, ITEMS, FAST, PLAIN, "plain", out)
    finish(out, [kept, plain])
    assert open_engine(out).spec == SPEC
    report = json.loads((out / REPORT_FILE).read_text())
    assert [found["way"] for found in report] == ["replay", "plain"]
    assert report[0]["backward_transfer"] == kept.backward_transfer
    return [kept, plain]


def test_the_matrix_has_a_row_for_each_day(courses: list[Course]) -> None:
    for course in courses:
        assert len(course.recall) == 4
        assert all(len(row) == 3 for row in course.recall)
        assert course_table(course).row_count == 4


def test_replay_and_held_weights_keep_what_plain_fine_tuning_forgets(courses: list[Course]) -> None:
    kept, plain = courses
    assert plain.backward_transfer < -0.1
    assert kept.backward_transfer > plain.backward_transfer + 0.1
    assert kept.final_mean > plain.final_mean
    assert kept.recall[-1][-1] > 0.9  # and the newest day is learned nevertheless


def test_a_killed_run_ends_as_a_whole_one(
    earlier: Checkpoint, courses: list[Course], tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    steps = 0

    def kill(position: Position) -> None:
        nonlocal steps
        steps += 1
        if steps == 40:
            raise Killed

    with pytest.raises(Killed):
        learn_days(earlier, DAYS, SPEC, ITEMS, FAST, KEPT, "replay", tmp_path, on_batch=kill)
    again = learn_days(earlier, DAYS, SPEC, ITEMS, FAST, KEPT, "replay", tmp_path)
    assert again == courses[0]


def test_backward_transfer_is_the_mean_change_on_earlier_days() -> None:
    course = Course(
        "plain", ("a", "b", "c"), ((0, 0, 0), (0.5, 0, 0), (0.4, 0.6, 0), (0.1, 0.5, 1))
    )
    assert course.backward_transfer == pytest.approx((0.1 - 0.5 + 0.5 - 0.6) / 2)
    assert course.final_mean == pytest.approx(1.6 / 3)


def test_logs_one_after_the_other_are_a_log() -> None:
    logs = [found.log for found in DAYS]
    whole = joined(logs)
    check_log(whole, SPEC, ITEMS)
    assert whole.events == sum(log.events for log in logs)
    assert np.array_equal(whole.item[-logs[2].events :], logs[2].item)


def test_items_of_later_days_are_read_from_their_buckets() -> None:
    known = 20
    log = msgspec.structs.replace(
        DAYS[0].log, item=np.arange(DAYS[0].log.events, dtype=np.int32) % SPEC.input_count
    )
    found = recoded(log, SPEC, ITEMS, known)
    vocabulary = Vocabulary(ITEMS[:known], SPEC.cold_buckets)
    for code, item in enumerate(ITEMS):
        assert (found.item[log.item == code] == vocabulary.code(item)).all()
    assert (found.item[log.item == SPEC.no_item] == vocabulary.code(None)).all()


def test_new_items_and_actions_are_learned_when_they_come(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, item_count=24, top_k=10)
    items = ITEMS[:24]
    old = msgspec.structs.replace(spec, item_count=12, actions=SPEC.actions[:3])
    folder = tmp_path / "old"
    train(day(0, 12, 5, seed=1), old, items[:12], FAST, folder)
    days = [Day("monday", day(0, 12, 5, 4), 12), Day("tuesday", day(12, 24, 5, 5), 24)]
    course = learn_days(
        checkpoint.load(folder), days, spec, items, FAST, KEPT, "replay", tmp_path / "out"
    )
    assert course.recall[1][1] == 0.0  # nothing of tuesday is known before
    assert course.recall[2][1] > 0.8


@pytest.mark.parametrize("wrong", [{"replay_share": -1.0}, {"held_out": 0.0}, {"ewc_decay": 2.0}])
def test_settings_out_of_range_are_told(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ContinualConfig(**wrong)
