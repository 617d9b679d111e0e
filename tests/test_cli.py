import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import aiokafka.errors
import pytest
import typer
from typer.testing import CliRunner, Result

from stream_app.cli import (
    COMMANDS,
    EXIT_CODES,
    STARTED_BY_TORCHRUN,
    TEAMWORK,
    app,
    exit_code_of,
    load_command,
)
from stream_app.invocation import ExitCode, Invocation, UserError
from stream_app.kafka.connection import KafkaUnreachable

MAIN = "from stream_app.cli import main; main()"
HEAVY = ("aiokafka", "duckdb", "faust", "numpy", "onnxruntime", "pydantic", "torch")


def run(arguments: Sequence[str], folder: Path, **environ: str) -> Result:
    return CliRunner().invoke(app, list(arguments), obj=Invocation(environ, folder))


def words(shown: str) -> str:
    """What rich drew, without its colours, boxes and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", shown).split())


def imported_by(arguments: Sequence[str]) -> set[str]:
    """The modules that a call of ``clickahead`` leaves imported."""
    code = (
        "import sys; sys.argv = sys.argv[1:]\n"
        "from stream_app.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code or 0, *sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, "clickahead", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    status, *modules = ended.stderr.splitlines()[-1].split()
    assert status == "0"
    return set(modules)


def test_torchrun_may_start_what_several_processes_can_divide(tmp_path: Path) -> None:
    for name in COMMANDS:
        found = run([name, "--help"], tmp_path, **{STARTED_BY_TORCHRUN: "a run"})
        if name in TEAMWORK:
            assert found.exit_code == 0
            continue
        assert found.exit_code == 2
        assert f"{name} is the work of one" in found.output
        assert "Start it without torchrun" in found.output


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a function as if it were the command ``config``."""

    def invoke(command: object, *arguments: str) -> Result:
        module = SimpleNamespace(command=command)
        monkeypatch.setitem(sys.modules, "stream_app.commands.config", module)
        return run(["config", *arguments], tmp_path)

    return invoke


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_has_its_module(name: str) -> None:
    assert importlib.util.find_spec(f"stream_app.commands.{name}") is not None
    assert load_command(name).help


def test_every_module_of_commands_is_listed() -> None:
    folder = Path(str(importlib.util.find_spec("stream_app.commands").origin)).parent
    assert {path.stem for path in folder.glob("[a-z]*.py")} == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_shared_options(name: str) -> None:
    options = [option for param in load_command(name).params for option in param.opts]
    assert {"--config", "--debug"} <= set(options)
    assert len(options) == len(set(options))


def test_help_lists_every_command_and_every_exit_code_and_imports_none(tmp_path: Path) -> None:
    shown = run(["--help"], tmp_path)
    assert shown.exit_code == 0
    for name, listed in COMMANDS.items():
        assert f"{name} {listed.help}" in words(shown.stdout)
    for code in ExitCode:
        assert re.search(rf"\b{code.value}\b", EXIT_CODES)
    modules = imported_by(["--help"])
    assert [name for name in modules if name.startswith("stream_app.commands.")] == []
    assert modules & set(HEAVY) == set()


def test_the_worker_imports_neither_torch_nor_duckdb() -> None:
    assert imported_by(["worker", "--help"]) & {"torch", "duckdb"} == set()


def test_a_misspelt_command_is_answered_with_the_nearest(tmp_path: Path) -> None:
    refused = run(["wroker"], tmp_path)
    assert refused.exit_code == ExitCode.USAGE
    assert "No such command 'wroker'. Did you mean 'worker'" in words(refused.stderr)


def test_version_is_told_and_the_package_runs_as_the_command(tmp_path: Path) -> None:
    told = run(["--version"], tmp_path)
    assert (told.exit_code, told.stdout.split()[0]) == (0, "clickahead")
    as_package = [sys.executable, "-m", "stream_app", "--version"]
    ended = subprocess.run(as_package, capture_output=True, text=True, check=True)  # noqa: S603
    assert ended.stdout == told.stdout


@pytest.mark.parametrize("before", [True, False])
def test_shared_options_stand_before_or_after_the_command(tmp_path: Path, before: bool) -> None:
    named = tmp_path / "named.toml"
    named.write_text("[worker]\npartitions = 11\n")
    option = ["--config", str(named)]
    call = [*option, "config", "--json"] if before else ["config", "--json", *option]
    shown = run(call, tmp_path)
    assert json.loads(shown.stdout)["worker.partitions"]["value"] == 11


@pytest.mark.parametrize("debug", [True, False])
def test_a_users_mistake_is_a_sentence_and_a_traceback_only_for_debugging(
    tmp_path: Path, debug: bool
) -> None:
    call = ["config", "--debug"] if debug else ["config"]
    refused = run(call, tmp_path, CLICKAHEAD_WORKER__PARTITIONS="four")
    assert refused.exit_code == ExitCode.USAGE
    assert refused.stdout == ""
    *before, sentence = refused.stderr.splitlines()
    assert sentence.startswith("clickahead: CLICKAHEAD_WORKER__PARTITIONS: worker.partitions")
    assert bool(before) is debug


@pytest.mark.parametrize("result", [0, 1, 3, None])
def test_what_a_command_returns_is_its_exit_code(stand_in, result: int | None) -> None:
    def command() -> int | None:
        return result

    assert stand_in(command).exit_code == (result or 0)


def test_a_command_may_end_itself(stand_in) -> None:
    def command() -> None:
        raise typer.Exit(ExitCode.FAILED)

    assert stand_in(command).exit_code == 1


def test_a_wrong_option_is_the_users_to_mend(stand_in) -> None:
    def command(count: int = 1) -> None:
        raise typer.BadParameter(f"{count} is too many")

    assert stand_in(command, "--count", "many").exit_code == ExitCode.USAGE
    assert stand_in(command, "--count", "9").exit_code == ExitCode.USAGE


def test_a_defect_is_not_taken_for_a_users_mistake(stand_in) -> None:
    def command() -> None:
        raise KeyError("defect")

    assert isinstance(stand_in(command).exception, KeyError)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("x"), 2),
        (KafkaUnreachable("x"), 3),
        (aiokafka.errors.KafkaConnectionError("x"), 3),
        (ValueError("x"), None),
        (OSError("x"), None),
    ],
)
def test_errors_become_exit_codes(error: Exception, code: int | None) -> None:
    assert exit_code_of(error) == code


def test_an_interrupt_ends_quietly_with_130(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time, types\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background shell's child
        "def command():\n    print('waiting', flush=True)\n    time.sleep(60)\n"
        "sys.modules['stream_app.commands.watch'] = types.SimpleNamespace(command=command)\n"
        "sys.argv = ['clickahead', 'watch']\n" + MAIN
    )
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "Traceback" not in errors


def test_a_reader_who_leaves_is_no_error() -> None:
    code = "import sys; sys.argv = ['clickahead', 'config', '--json']\n" + MAIN
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        ended = subprocess.run(  # noqa: S603
            [sys.executable, "-c", code], stdout=pipe, stderr=subprocess.PIPE, check=False
        )
    assert ended.returncode == 0
    assert b"Broken" not in ended.stderr


def test_a_broken_pipe_elsewhere_is_not_taken_for_a_reader_who_left(stand_in) -> None:
    def command() -> None:
        raise BrokenPipeError("the broker's socket")

    assert stand_in(command).exit_code != 0


def test_the_shell_completes_commands() -> None:
    environ = {
        **os.environ,
        "_CLICKAHEAD_COMPLETE": "complete_bash",
        "COMP_WORDS": "clickahead wor",
        "COMP_CWORD": "1",
    }
    completed = subprocess.run(  # noqa: S603
        [sys.executable, "-c", MAIN], env=environ, capture_output=True, text=True, check=False
    )
    assert completed.stdout.split() == ["worker"]
