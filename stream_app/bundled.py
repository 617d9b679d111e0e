"""The model that comes with the program: what a worker serves that was told no other."""

from pathlib import Path

import model

BUNDLED = Path(model.__file__).parent / "bundled"


def model_directory(chosen: Path | None) -> Path:
    """The folder of the chosen model, or of the bundled one."""
    return BUNDLED if chosen is None else chosen
