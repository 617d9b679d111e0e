"""Compiling at install time: what is compiled, and that an install goes on without a compiler."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("model/native", "stream_app/core/native", "stream_app/kafka/native")
EXTENSION = "stream_app/core/extension"

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from build_native import CustomBuildHook
data = {"artifacts": []}
hook = CustomBuildHook(sys.argv[2], {}, None, None, "", "wheel")
hook.initialize("standard", data)
print(data)
"""


def build(folder: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run the hook on a copy of the sources, as an installer would in a process of its own."""
    for native in (*FOLDERS, EXTENSION):
        shutil.copytree(ROOT / native, folder / native, dirs_exist_ok=True)
    for library in folder.rglob("*.so"):
        library.unlink()
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", SCRIPT, str(ROOT / "deploy"), str(folder)],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )


def test_each_library_lies_beside_its_source_and_in_the_wheel(tmp_path: Path) -> None:
    done = build(tmp_path, PATH="/usr/local/bin:/usr/bin:/bin")
    for native in FOLDERS:
        for source in (ROOT / native).glob("*.c"):
            # The scan is one library of several sources.
            stem = "scan" if source.stem.startswith("scan") else source.stem
            library = f"{native}/{stem}.so"
            assert (tmp_path / library).stat().st_size > 0
            assert f"'{library}'" in done.stdout
    module = f"{EXTENSION}/passes{sysconfig.get_config_var('EXT_SUFFIX')}"
    assert (tmp_path / module).stat().st_size > 0
    assert f"'{module}'" in done.stdout
    assert "'pure_python': False" in done.stdout


def test_without_a_compiler_the_install_goes_on_and_says_so(tmp_path: Path) -> None:
    for environ in ({"PATH": str(tmp_path)}, {"PATH": "/usr/bin:/bin", "CC": "false"}):
        done = build(tmp_path, **environ)
        assert "{'artifacts': []}" in done.stdout
        assert "Install a C compiler" in done.stderr
        assert not [*tmp_path.rglob("*.so")]


def test_a_compiler_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = build(tmp_path, CC="no-such-compiler")
    assert "no-such-compiler: No such file" in done.stderr
