"""The peers' packages in a virtual environment of their own, made on demand from a hashed lock."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK_FILE = Path(__file__).parent / "peers" / "requirements.lock"


def peers_python(folder: Path, tell: Callable[[str], None] = lambda text: None) -> Path:
    """The interpreter with the peers' packages. Raises RuntimeError where they cannot be had."""
    digest = hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()[:16]
    environment = folder / f"peers-{digest}"
    python, stamp = environment / "bin" / "python", environment / ".whole"
    if not stamp.exists():
        tell("installing the peers' packages")
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(environment))
        _uv(
            "pip", "install", "--quiet", "--python", str(python),
            "--require-hashes", "-r", str(LOCK_FILE),
        )  # fmt: skip
        stamp.touch()
    return python


def _uv(*arguments: str) -> None:
    done = subprocess.run(  # noqa: S603
        ["sh", "deploy/install.sh", "uv", *arguments],  # noqa: S607
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the peers' packages cannot be installed:\n{done.stderr}")
