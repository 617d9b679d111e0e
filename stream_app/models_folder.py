"""A folder of models that may be promoted: each in a folder of its own, named after its version."""

import re
from collections.abc import Mapping
from pathlib import Path

from model.checkpoint import MANIFEST_FILE
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
