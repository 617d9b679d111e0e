import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LOCKS = [
    "requirements.lock",
    "requirements-dev.lock",
    "deploy/bootstrap.lock",
    "tests/bench/peers/requirements.lock",
]


def make(*arguments: str) -> str:
    return subprocess.run(  # noqa: S603
        ["make", "--no-print-directory", *arguments],  # noqa: S607
        cwd=ROOT,
        # What the make that runs these tests was told is not for this one.
        env={name: value for name, value in os.environ.items() if "MAKE" not in name},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def pins(lock: str) -> set[tuple[str, str]]:
    """The (package, version) pairs of a lock file; platforms may have versions of their own."""
    text = (ROOT / lock).read_text()
    return set(re.findall(r"^(\S+?)==([^\s;]+)", text, re.MULTILINE))


def test_make_alone_tells_what_there_is() -> None:
    targets = {line.split()[0] for line in make().splitlines()}
    assert {
        "setup",
        "demo",
        "test",
        "chaos",
        "soak",
        "bench",
        "lint",
        "format",
        "lock",
        "clean",
    } <= targets
    assert make() == make("help")


def test_demo_passes_its_arguments_on() -> None:
    assert ".venv/bin/clickahead demo --seconds 60 --plain" in make(
        "--dry-run", "demo", "DEMO_ARGS=--seconds 60 --plain"
    )


def test_chaos_and_soak_pass_on_what_they_are_given() -> None:
    given = ["SEEDS=20", "FIRST_SEED=3", "DELIVERY=both", "SECONDS=9", "KILLS=5", "RATE=100"]
    wanted = "--seeds 20 --first-seed 3 --delivery both --seconds 9 --kills 5 --rate 100"
    assert f"tests.chaos.run {wanted}\n" in make("--dry-run", "chaos", *given)
    assert make("--dry-run", "chaos").rstrip().endswith("tests.chaos.run")
    soak = make("--dry-run", "soak", "MINUTES=10", "RATE=50")
    assert "tests.chaos.soak --minutes 10 --rate 50\n" in soak


def test_test_runs_everything_that_has_to_be_green() -> None:
    steps = make("--dry-run", "test")
    for step in ("ruff check", "ruff format --check", "mypy", "promtool.sh", "pytest"):
        assert step in steps


def test_the_check_of_every_change_is_make_test() -> None:
    assert (ROOT / ".ci/run").read_text().splitlines()[1:] == [
        'cd "$(dirname "${BASH_SOURCE[0]}")/.." && exec make test'
    ]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_package_by_hash_and_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--index" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert {re.split(r"==", entry)[0] for entry in entries} == {name for name, _ in pins(lock)}
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)


def test_serving_and_testing_run_the_same_versions() -> None:
    assert pins("requirements.lock") - pins("requirements-dev.lock") == set()


def test_the_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    for lock, wanted in {
        "requirements.lock": project["project"]["dependencies"],
        "requirements-dev.lock": [*extras["train"], *extras["dev"]],
        "deploy/bootstrap.lock": project["build-system"]["requires"],
    }.items():
        for requirement in map(Requirement, wanted):
            versions = [pin for name, pin in pins(lock) if name == requirement.name.lower()]
            assert any(map(requirement.specifier.contains, versions)), f"make lock ({requirement})"


def test_serving_needs_no_training_library() -> None:
    heavy = {"torch", "onnx", "scikit-learn", "tensorboard", "matplotlib", "triton"}
    assert heavy & {name for name, _ in pins("requirements.lock")} == set()
