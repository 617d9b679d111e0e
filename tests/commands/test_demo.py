"""The demo as a user runs it: it answers everything, says so, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def demo(*arguments: str, temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "stream_app", "demo", "--plain", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )


def left_behind(temporary: Path) -> list[str]:
    """Command lines of living processes that name the demo's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(temporary).encode() in line:
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_the_simulated_shop_is_predicted(kafka_jars: Path, tmp_path: Path) -> None:
    process = demo("--seconds", "6", "--rate", "200", temporary=tmp_path)
    text, _ = process.communicate(timeout=180)
    assert process.returncode == 0, text
    assert "0 rejected + " in text.splitlines()[-1]
    assert "hit rate@20" in text
    assert left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_foreign_catalogue_falls_back(kafka_jars: Path, tmp_path: Path) -> None:
    file = tmp_path / "clicks.csv"
    rows = [f"u{n % 40},product-{n % 70},{1_700_000_000 + n}" for n in range(600)]
    file.write_text("\n".join(["user_id,item_id,timestamp", *rows, "u1,product-1,never"]) + "\n")
    process = demo("--events", str(file), "--rate", "400", temporary=tmp_path)
    text, _ = process.communicate(timeout=180)
    assert process.returncode == 0, text
    assert "601 in = 600 predicted + 1 rejected + 0 duplicates + 0 heartbeats" in text
    assert "does not know this catalogue" in " ".join(text.split())


def test_ctrl_c_ends_all_that_it_started(kafka_jars: Path, tmp_path: Path) -> None:
    process = demo("--rate", "100", temporary=tmp_path)
    assert process.stdout is not None
    said = ""
    while "sent" not in said:
        said = process.stdout.readline()
        assert said, "the demo ended by itself"
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text
    time.sleep(0.2)
    assert left_behind(tmp_path) == []
