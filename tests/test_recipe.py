"""Settings go to whom they concern, and files are read as they say."""

from pathlib import Path

import pytest
from rich.console import Console

from model.config import TrainConfig
from stream_app.core.config import CoreConfig
from stream_app.invocation import UserError
from stream_app.reading import FileChoice
from stream_app.recipe import read_material, split_settings
from stream_app.sequences import ShapeConfig


def test_every_setting_has_one_owner() -> None:
    names = [*ShapeConfig.__struct_fields__, *TrainConfig.__struct_fields__]
    of_shape, of_training = split_settings(dict.fromkeys(names, "1"))
    assert [*of_shape, *of_training] == names
    assert set(of_shape) == set(ShapeConfig.__struct_fields__)


def test_a_setting_of_nobody_is_told_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"--set epoch is unknown; choose from .*epochs, .*top_k"):
        split_settings({"epochs": "1", "epoch": "2"})


def test_files_are_coded_as_the_settings_say(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    lines = [f"u{n % 3},{item},{1_700_000_000 + 60 * n}" for n, item in enumerate("aababcabca")]
    path.write_text("user_id,item_id,timestamp\n" + "\n".join(lines) + "\n")
    console = Console(quiet=True)
    choice, core = FileChoice([path], sort=True), CoreConfig(pseudonym_key=bytes(16))
    found = read_material(choice, ShapeConfig(max_items=2), core, console)
    assert found.items == ("a", "b")
    assert found.spec.item_count == 2
    assert found.log.events == 10
    assert (found.log.item >= 2).sum() == 2  # c, in a cold bucket
