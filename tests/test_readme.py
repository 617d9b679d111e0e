"""The README's commands exist: every option and every target that it names."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from stream_app.cli import COMMANDS, load_command
from stream_app.settings import load
from stream_app.sources import variable_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# An indented line of code, without what stands behind its comment sign.
CODE = [line.split("  #")[0].strip() for line in README.splitlines() if line.startswith("    ")]
CALLS = [match[1] for line in CODE if (match := re.search(r"\bclickahead (\w+.*)$", line))]


def options_of(command: str, *words: str) -> set[str]:
    """Options of a command, or of the command in its group that the words name."""
    found = load_command(command)
    if isinstance(found, typer.core.TyperGroup):
        assert words[0] in found.commands
        found = found.commands[words[0]]
    return {option for parameter in found.params for option in parameter.opts}


@pytest.mark.parametrize("call", CALLS)
def test_commands_and_their_options_exist(call: str) -> None:
    name, *rest = shlex.split(call)
    assert name in COMMANDS
    given = {word for word in rest if word.startswith("--")}
    assert given <= options_of(name, *rest)


def test_every_command_is_in_the_readme() -> None:
    assert [name for name in COMMANDS if f"clickahead {name}" not in README] == []


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {match[1] for line in CODE if (match := re.match(r"make ([a-z-]+)", line))}
    assert named
    assert named <= targets


def test_demo_arguments_exist() -> None:
    given = {
        word
        for arguments in re.findall(r'DEMO_ARGS="([^"]*)"', README)
        for word in arguments.split()
        if word.startswith("--")
    }
    assert given
    assert given <= options_of("demo")


def test_settings_in_the_environment_exist() -> None:
    known = {variable_of(key) for key in load(None, {}).flat()} | {
        "CLICKAHEAD_CACHE",
        "CLICKAHEAD_TEST_SCALE",
    }
    named = {name.removesuffix("_FILE") for name in re.findall(r"CLICKAHEAD_[A-Z_]+\b", README)}
    assert {name for name in named if "SECTION__" not in name} - {"CLICKAHEAD_CONFIG"} <= known


def test_commands_can_be_loaded() -> None:
    kinds = (typer.core.TyperCommand, typer.core.TyperGroup)
    assert all(isinstance(load_command(name), kinds) for name in COMMANDS)
