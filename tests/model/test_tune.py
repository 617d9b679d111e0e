"""The search: it is judged on held-out sessions, keeps to its budget, and goes on after a kill."""

from pathlib import Path

import msgspec
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from model.config import TrainConfig
from model.importance import draw_importance, outcome_table
from model.presets import LogTraits
from model.resume import Position
from model.tune import Budget, Outcome, TuneError, space_of, tune
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of()
ITEMS = tuple("abcdef")
LOG = learnable_log(SPEC, users=30)
BASE = TrainConfig(epochs=2, batch_sequences=8, learning_rate=1e-5)
SPACE = {
    "learning_rate": FloatDistribution(1e-5, 3e-2, log=True),
    "hidden_width": CategoricalDistribution([4, 8]),
}


class Killed(Exception):
    pass


def search(out: Path, trials: int = 6, kill_at: int | None = None) -> Outcome:
    count = 0

    def on_batch(position: Position) -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            raise Killed

    return tune(LOG, SPEC, ITEMS, BASE, SPACE, Budget(trials), out, on_batch=on_batch)


def test_it_finds_better_settings_than_it_began_with(tmp_path: Path) -> None:
    outcome = search(tmp_path)
    assert outcome.finished == 6
    assert outcome.mrr_at_20 > outcome.first + 0.05
    assert outcome.settings["learning_rate"] > 1e-4
    assert outcome.epochs in (1, 2)
    assert not (tmp_path / "trials").exists() or not list((tmp_path / "trials").iterdir())
    assert outcome_table(outcome).row_count == 2
    draw_importance({"learning_rate": 0.8, "hidden_width": 0.2}, tmp_path / "importance.png")
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_search_ends_as_a_whole_one(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", trials=4)
    for _ in range(20):
        try:
            resumed = search(tmp_path / "cut", trials=4, kill_at=11)
            break
        except Killed:
            continue
    else:
        resumed = search(tmp_path / "cut", trials=4)
    assert resumed.settings == whole.settings
    assert resumed.mrr_at_20 == whole.mrr_at_20
    again = search(tmp_path / "cut", trials=4)  # nothing is left to do
    assert again == resumed


def test_time_is_a_budget_too(tmp_path: Path) -> None:
    ticks = iter(range(100_000))
    outcome = tune(
        LOG, SPEC, ITEMS, BASE, SPACE, Budget(50, 3.0), tmp_path, clock=lambda: next(ticks)
    )
    assert 1 <= outcome.finished <= 4


def test_another_searchs_folder_is_left_alone(tmp_path: Path) -> None:
    search(tmp_path, trials=1)
    other = msgspec.structs.replace(BASE, weight_decay=0.2)
    with pytest.raises(TuneError, match="give another --out"):
        tune(LOG, SPEC, ITEMS, other, SPACE, Budget(1), tmp_path)


@pytest.mark.parametrize("targets", [1_000, 50_000, 1_000_000])
def test_the_space_follows_the_data_and_holds_the_preset(targets: int) -> None:
    base = TrainConfig(label_smoothing=0.3, learning_rate=2e-2, batch_sequences=5)
    space = space_of(LogTraits(targets, 0.5, 10.0), SPEC, base)
    own = {**msgspec.structs.asdict(base), "hidden_width": SPEC.hidden_width}
    for name, found in space.items():
        assert found._contains(found.to_internal_repr(own[name])), name
    widths = space["hidden_width"]
    assert isinstance(widths, CategoricalDistribution)
    assert (192 in widths.choices) == (targets == 1_000_000)
