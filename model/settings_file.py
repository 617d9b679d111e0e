"""Training settings in a file: what tuning writes and training reads."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from model.checkpoint import write_atomically
from model.config import ConfigError


def read_settings(path: Path) -> dict[str, str]:
    """The ``KEY = VALUE`` pairs of a TOML file, or of a JSON object (by its name, ``.json``), as
    texts; raises ConfigError for a file that is no such thing."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} holds no settings: {error}") from None
    if not isinstance(found, dict) or not all(_is_plain(value) for value in found.values()):
        raise ConfigError(f"{path} must hold one value for each setting, such as epochs = 9")
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items()
    }


def write_settings(path: Path, settings: Mapping[str, str | int | float | bool], note: str) -> None:
    """Write settings as TOML, with a comment above them."""
    lines = [f"# {note}", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)
