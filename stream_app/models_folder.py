"""A folder of models that may be promoted: each in a folder of its own, named after its version,
as `model.registry` keeps them."""

import re
from collections.abc import Mapping
from pathlib import Path

from model.checkpoint import MANIFEST_FILE
from model.registry import Registry
from stream_app.bundled import model_directory
from stream_app.engines import Find

VERSION = re.compile(r".+-[0-9a-f]{16,64}")
"""How a model version is written: NAME-FINGERPRINT."""


def models_in(folder: Path | None) -> Find:
    """A function that looks which versions there are now. It raises OSError for a folder that
    cannot be read; without a folder there are none."""

    def find() -> Mapping[str, Path]:
        if folder is None:
            return {}
        return {
            path.name: path
            for path in sorted(folder.iterdir())
            if VERSION.fullmatch(path.name) and (path / MANIFEST_FILE).is_file()
        }

    return find


def own_model(model_dir: Path | None, models: Path | None) -> Path:
    """The model that a worker begins with: the one that is named, else the live one of its
    registry, else the bundled one. Raises RegistryError."""
    if model_dir is None and models is not None:
        registry = Registry(models)
        live = registry.live()
        if live is not None:
            return registry.path_of(live)
    return model_directory(model_dir)
