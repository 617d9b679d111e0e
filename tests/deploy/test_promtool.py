import shutil
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "deploy" / "promtool.sh"


def call(folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [str(shutil.which("sh")), str(SCRIPT), str(folder)],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def executable(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def test_nothing_is_fetched_where_there_is_one(tmp_path: Path) -> None:
    executable(tmp_path / "bin" / "promtool")
    for folder, path in [("absent", "bin"), ("bin", "nothing")]:
        ended = call(tmp_path / folder, tmp_path / path)
        assert (ended.returncode, ended.stderr) == (0, "")
    assert not (tmp_path / "absent").exists()


def test_without_apt_it_fails_and_says_what_to_install(tmp_path: Path) -> None:
    ended = call(tmp_path / "absent", tmp_path)
    assert ended.returncode == 1
    assert "the tests need promtool, and there is no apt to fetch it" in ended.stderr
    assert "the package prometheus" in ended.stderr
