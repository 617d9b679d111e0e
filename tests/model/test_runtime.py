"""Nothing is reported to anybody: no uploader, no device id, no file."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_serving_writes_nothing_to_report(tmp_path: Path) -> None:
    code = "from model.engine import open_engine; open_engine(__import__('pathlib').Path('{}'))"
    surroundings = {
        name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"
    }
    subprocess.run(  # noqa: S603
        [sys.executable, "-c", code.format(ROOT / "model" / "bundled")],
        cwd=ROOT,
        env=surroundings | {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        check=True,
    )
    assert list(tmp_path.rglob("*")) == []


def test_nobody_imports_the_library_past_us() -> None:
    importers = [
        path.name
        for room in ("model", "stream_app")
        for path in (ROOT / room).rglob("*.py")
        if "import onnxruntime" in path.read_text(encoding="utf-8")
    ]
    assert importers == ["runtime.py"]
