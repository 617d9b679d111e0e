"""Settings in files."""

from pathlib import Path

import pytest

from model.config import ConfigError, TrainConfig, with_settings
from model.settings_file import read_settings, write_settings


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "best.toml"
    wanted = {"epochs": 4, "learning_rate": 1.5e-05, "net": "gru", "refit": False}
    write_settings(path, wanted, "found by trying")
    assert path.read_text().startswith("# found by trying\n")
    config = with_settings(TrainConfig(), read_settings(path))
    assert {name: getattr(config, name) for name in wanted} == wanted


def test_json_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text('{"epochs": 4, "net": "lstm"}')
    assert read_settings(tmp_path / "best.json") == {"epochs": "4", "net": "lstm"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs = ", "holds no settings"),
        ("[epochs]\na = 1", "one value"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "best.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_settings(path)
