"""deploy/install.sh with a uv that writes down its calls instead of downloading."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = f"""#!/bin/sh
echo "$*" >>"$CALLS"
env | grep -E '^(PIP|UV|SSL)_' | sort >"$CALLS.environment"
[ "$1" != venv ] || {{ mkdir -p .venv/bin && ln -s "{sys.executable}" .venv/bin/python; }}
"""


class Clone:
    """A copy of what the installation reads, in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        self.root = folder / "a clone"
        (self.root / "deploy").mkdir(parents=True)
        for name in (
            "deploy/install.sh",
            "deploy/bootstrap.lock",
            "pyproject.toml",
            "requirements.lock",
            "requirements-dev.lock",
            "deploy/build_native.py",
            "model/native/scan.c",
            "model/native/scan.h",
            "stream_app/core/native/predictions.c",
            "stream_app/core/native/splitmix.h",
            "stream_app/core/extension/passes.h",
            "stream_app/core/extension/module.c",
        ):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        tools = folder / "tools"
        tools.mkdir()
        (tools / "uv").write_text(UV)
        (tools / "uv").chmod(0o755)
        self.path = f"{tools}:/usr/bin:/bin"

    def install(self, what: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the script from another folder, as make does not."""
        surroundings = {"PATH": self.path, "HOME": str(self.home), "PYTHON": sys.executable}
        return subprocess.run(  # noqa: S603
            ["sh", str(self.root / "deploy/install.sh"), what],  # noqa: S607
            env={**surroundings, "CALLS": str(self.home / "calls"), **environ},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[str]:
        """What uv was asked since the last time: ``venv``, or the file that was installed."""
        calls = self.home / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return [
            re.sub(r".*(venv \S+|requirements\S*|--editable \.).*", r"\1", line).split()[0]
            for line in lines
        ]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_the_first_call_installs_and_the_second_does_nothing(clone: Clone) -> None:
    assert clone.install("serve").returncode == 0
    assert clone.calls() == ["venv", "requirements.lock", "--editable"]
    again = clone.install("serve")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert clone.calls() == []


def test_what_tests_need_contains_what_serving_needs(clone: Clone) -> None:
    assert clone.install("dev").returncode == 0
    assert clone.calls() == ["venv", "requirements-dev.lock", "--editable"]
    clone.install("serve")
    clone.install("dev")
    assert clone.calls() == []


def test_serving_first_and_testing_later_keeps_the_environment(clone: Clone) -> None:
    clone.install("serve")
    clone.calls()
    clone.install("dev")
    assert clone.calls() == ["requirements-dev.lock", "--editable"]


@pytest.mark.parametrize(
    "changed", ["requirements.lock", "pyproject.toml", "deploy/bootstrap.lock"]
)
def test_a_changed_input_installs_again(clone: Clone, changed: str) -> None:
    clone.install("serve")
    clone.calls()
    with (clone.root / changed).open("a") as file:
        file.write("# changed\n")
    clone.install("serve")
    assert clone.calls() == ["requirements.lock", "--editable"]


def test_a_moved_clone_gets_a_new_environment(clone: Clone) -> None:
    clone.install("serve")
    clone.calls()
    clone.root = clone.root.rename(clone.home / "moved")
    moved = clone.install("serve")
    assert ".venv does not work here any more" in moved.stderr
    assert clone.calls() == ["venv", "requirements.lock", "--editable"]


def test_an_environment_without_a_python_is_made_anew(clone: Clone) -> None:
    clone.install("serve")
    clone.calls()
    (clone.root / ".venv/bin/python").unlink()
    clone.install("serve")
    assert clone.calls() == ["venv", "requirements.lock", "--editable"]


def test_somebodys_own_environment_is_not_removed(clone: Clone) -> None:
    (clone.root / ".venv/bin").mkdir(parents=True)
    (clone.root / ".venv/bin/python").symlink_to(sys.executable)
    (clone.root / ".venv/mine").touch()
    clone.install("serve")
    assert (clone.root / ".venv/mine").exists()
    assert clone.calls() == ["requirements.lock", "--editable"]


def test_a_failed_download_is_a_failure_and_is_tried_again(clone: Clone) -> None:
    uv = Path(clone.path.partition(":")[0]) / "uv"
    works = uv.read_text()
    uv.write_text(works + 'case "$*" in *requirements*) exit 2 ;; esac\n')
    assert clone.install("serve").returncode != 0
    uv.write_text(works)
    clone.calls()
    assert clone.install("serve").returncode == 0
    assert clone.calls() == ["requirements.lock", "--editable"]


def test_settings_of_pip_and_uv_that_would_send_packages_elsewhere_are_dropped(
    clone: Clone,
) -> None:
    clone.install(
        "serve", PIP_USER="1", PIP_TARGET="elsewhere", UV_SYSTEM_PYTHON="1", UV_TARGET="x"
    )
    assert (clone.home / "calls.environment").read_text() == ""


def test_uv_follows_the_index_and_the_certificates_of_pip(clone: Clone) -> None:
    clone.install("serve", PIP_INDEX_URL="scheme://mirror/simple", PIP_CERT="ca.pem")
    seen = (clone.home / "calls.environment").read_text().split()
    assert "UV_DEFAULT_INDEX=scheme://mirror/simple" in seen
    assert "SSL_CERT_FILE=ca.pem" in seen


def test_an_index_of_uvs_own_stays(clone: Clone) -> None:
    clone.install("serve", PIP_INDEX_URL="scheme://pip", UV_DEFAULT_INDEX="scheme://uv")
    assert "UV_DEFAULT_INDEX=scheme://uv" in (clone.home / "calls.environment").read_text()


def test_a_python_that_is_too_old_is_told(clone: Clone) -> None:
    refused = clone.install("serve", PYTHON="/bin/false")
    assert refused.returncode == 1
    assert refused.stderr == "clickahead: PYTHON=/bin/false is no Python 3.11 or newer\n"
    assert not (clone.root / ".venv").exists()


def test_no_python_at_all_is_told(clone: Clone, tmp_path: Path) -> None:
    tools = tmp_path / "without python"
    tools.mkdir()
    for tool in ("sh", "cat", "cksum", "dirname", "grep", "rm", "env"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    refused = clone.install("serve", PATH=str(tools), PYTHON="")
    assert refused.returncode == 1
    assert "Python 3.11 or newer is needed and python3 is missing" in refused.stderr
    assert "make setup PYTHON=" in refused.stderr


def test_the_pinned_uv_is_taken_from_the_cache(clone: Clone, tmp_path: Path) -> None:
    pin = re.search(r"^uv==(\S+)", (ROOT / "deploy/bootstrap.lock").read_text(), re.MULTILINE)
    assert pin is not None
    cache = tmp_path / "a cache"
    cache.mkdir()
    uv = Path(clone.path.partition(":")[0]) / "uv"
    uv.rename(cache / f"uv-{pin[1]}")
    path = os.pathsep.join(["/usr/bin", "/bin"])
    assert clone.install("serve", PATH=path, CLICKAHEAD_CACHE=str(cache)).returncode == 0
    assert clone.calls() == ["venv", "requirements.lock", "--editable"]


@pytest.mark.parametrize("what", ["", "sevre"])
def test_an_unknown_set_is_answered_with_the_usage(clone: Clone, what: str) -> None:
    refused = clone.install(what)
    assert refused.returncode == 1
    assert "usage: deploy/install.sh serve | dev" in refused.stderr
