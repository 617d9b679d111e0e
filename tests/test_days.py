"""Days are read under one vocabulary, in which each day knows what has come by its end."""

from pathlib import Path

import pytest
from rich.console import Console

from model import checkpoint
from model.architectures import build_net
from model.net_shape import NetShape
from stream_app.core.config import CoreConfig
from stream_app.days import check_goes_on, check_settings, day_settings, read_days
from stream_app.invocation import UserError
from stream_app.reading import FileChoice
from tests.model.logs import spec_of

CORE, CONSOLE = CoreConfig(pseudonym_key=bytes(16)), Console(quiet=True)


@pytest.fixture
def saved(tmp_path: Path) -> checkpoint.Checkpoint:
    spec = spec_of(items=2)
    checkpoint.save(tmp_path, spec, ("z", "b"), build_net(spec, NetShape()).weights())
    return checkpoint.load(tmp_path)


def day(folder: Path, name: str, items: str) -> FileChoice:
    path = folder / f"{name}.csv"
    lines = [f"u{n % 3},{item},{1_700_000_000 + 60 * n}" for n, item in enumerate(items)]
    path.write_text("user_id,item_id,timestamp\n" + "\n".join(lines) + "\n")
    return FileChoice([path], sort=True)


def test_each_day_knows_the_items_that_have_come_by_its_end(
    saved: checkpoint.Checkpoint, tmp_path: Path
) -> None:
    choices = [day(tmp_path, "monday", "abab"), day(tmp_path, "tuesday", "acbca")]
    days = read_days(saved, choices, CORE, CONSOLE)
    assert days.items == ("z", "b", "a", "c")
    assert days.spec.item_count == 4
    told = [(day.name, day.item_count, day.log.events) for day in days.course]
    assert told == [("monday.csv", 3, 4), ("tuesday.csv", 4, 5)]
    assert sorted(set(days.course[1].log.item.tolist())) == [1, 2, 3]
    how = day_settings(saved, days, {"epochs": "7"})
    assert (how.epochs, how.held_out, how.net) == (7, 0.0, saved.manifest.net.name)


def test_what_a_model_that_goes_on_cannot_change_is_told(
    saved: checkpoint.Checkpoint, tmp_path: Path
) -> None:
    check_settings({"epochs": "2"})
    for name in ("net", "refit"):
        with pytest.raises(UserError, match=f"{name} is not for continuing"):
            check_settings({"epochs": "2", name: "lstm"})
    check_goes_on(saved, tmp_path)
