"""The command line. A command's module is imported when the command runs, not before."""

import os
import select
import sys
import traceback
from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from stream_app.invocation import ExitCode, Invocation, UserError

RUN, DATA, MODEL, CONTRACT = "Run", "Data", "Model", "Contract"


class Listed(NamedTuple):
    """What ``clickahead --help`` says of a command without importing it."""

    help: str
    panel: str


COMMANDS: dict[str, Listed] = {
    "demo": Listed("Start Kafka, worker and a click stream, and show them live.", RUN),
    "worker": Listed("Predict and judge every click of the input topic.", RUN),
    "broker": Listed("Run a single-node Apache Kafka in the foreground.", RUN),
    "topics": Listed("Create the topics, or show how they are configured.", RUN),
    "heartbeat": Listed("Move the event time of idle partitions.", RUN),
    "control": Listed("Order all workers: change model, erase a user, block an item.", RUN),
    "watch": Listed("Show a topic live.", RUN),
    "simulate": Listed("Write the clicks of a seeded shop, planted attacks included.", DATA),
    "produce": Listed("Send click files to the input topic.", DATA),
    "dump": Listed("Write a topic's records to a file.", DATA),
    "rejected": Listed("List, show and send again what was rejected.", DATA),
    "explain": Listed("Make an output of the past again, and show what was behind it.", DATA),
    "replay": Listed("Run click files through the worker's core, without Kafka.", DATA),
    "prepare": Listed("Clean, cut by time, measure and describe click files.", DATA),
    "train": Listed("Train a model on click files.", MODEL),
    "continue": Listed("Go on training a model day by day, without forgetting.", MODEL),
    "tune": Listed("Search for training settings that suit the files.", MODEL),
    "validate": Listed("Judge training settings on several stretches of time.", MODEL),
    "evaluate": Listed("Measure a model on click files it has not seen.", MODEL),
    "compress": Listed("Prune or quantise a model, within a bound of quality.", MODEL),
    "distill": Listed("Make a small model that answers like large ones.", MODEL),
    "export": Listed("Turn a trained model into the graph that the worker serves.", MODEL),
    "models": Listed("Keep model versions in a folder, and say which one answers.", MODEL),
    "config": Listed("Show the settings in force and where each comes from.", CONTRACT),
    "schemas": Listed("Write or check the JSON Schemas of all topics.", CONTRACT),
}

# What several processes can divide, and the variable by which those of torchrun know each other.
TEAMWORK = ("train",)
STARTED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"

EXIT_CODES = (
    "Exit codes: 0 all went well; 1 the work found a failure, such as an event without a"
    " prediction; 2 an option, a file or a setting is wrong; 3 Kafka cannot be reached;"
    " 4 the topics no longer hold what it takes to explain an output; 130 interrupted."
)


def load_command(name: str) -> TyperCommand | TyperGroup:
    """The real command behind a listed name; imports its module, which has either a function
    ``command`` or a Typer app ``group`` of several."""
    module = import_module(f"stream_app.commands.{name}")
    if hasattr(module, "group"):
        group = typer.main.get_group(module.group)
        for command in [group, *group.commands.values()]:
            _add_shared_options(command)
        return group
    single = typer.Typer(add_completion=False)
    single.command(name)(module.command)
    command = typer.main.get_command(single)
    assert isinstance(command, TyperCommand)  # noqa: S101 (one command, no callback: never a group)
    _add_shared_options(command)
    return command


def _add_shared_options(command: Any) -> None:
    own = {option for parameter in command.params for option in parameter.opts}
    command.params += [shared for shared in _shared_options() if not own & set(shared.opts)]


class LazyCommand(TyperCommand):
    """A listed command; parsing its arguments swaps it for the real one."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        invocation = None if parent is None else parent.find_object(Invocation)
        if self.name not in TEAMWORK and invocation and STARTED_BY_TORCHRUN in invocation.environ:
            raise UserError(
                f"torchrun starts several processes, and {self.name} is the work of one: they "
                f"would write each other's files. Start it without torchrun; with it runs "
                f"{', '.join(TEAMWORK)}."
            )
        return load_command(self.name or "").make_context(info_name, args, parent, **extra)


class Commands(TyperGroup):
    """All commands; the one place where an exception becomes a sentence and an exit code."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        if extra.get("obj") is None:
            extra["obj"] = Invocation(environ=os.environ, folder=Path())
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            if not _reader_left():
                raise
            # The interpreter flushes at its end once more; that must not fail either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.OK) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            code = exit_code_of(error)
            if code is None or hasattr(error, "format_message"):
                raise
            if ctx.find_object(Invocation).debug:
                traceback.print_exception(error)
            typer.echo(f"clickahead: {error}", err=True)
            raise typer.Exit(code) from None
        if isinstance(result, int):
            raise typer.Exit(result)
        return result


def exit_code_of(error: Exception) -> int | None:
    """The exit code for an error that is the user's to mend, or None for a defect of ours."""
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return code
    # Only who imported aiokafka can have raised its errors.
    aiokafka_errors = sys.modules.get("aiokafka.errors")
    if aiokafka_errors and isinstance(error, aiokafka_errors.KafkaConnectionError):
        return ExitCode.KAFKA_UNREACHABLE
    return None


def _reader_left() -> bool:
    """Whether standard output is a pipe that nobody reads any more, as after ``| head``."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in watch.poll(0))


def _take_config(context: typer.Context, value: Path | None) -> None:
    invocation = context.find_object(Invocation)
    if value is not None and invocation is not None:
        invocation.config_file = value


def _take_debug(context: typer.Context, value: bool) -> None:
    invocation = context.find_object(Invocation)
    if value and invocation is not None:
        invocation.debug = True


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"clickahead {version()}")
        raise typer.Exit


def version() -> str:
    try:
        return metadata.version("clickahead")
    except metadata.PackageNotFoundError:
        return "(run from its sources; `make setup` installs it)"


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        expose_value=False,
        callback=_take_config,
        help="Settings file; else CLICKAHEAD_CONFIG, else clickahead.toml here.",
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug", expose_value=False, callback=_take_debug, help="Show the traceback of an error."
    ),
]
Version = Annotated[
    bool,
    typer.Option(
        "--version", expose_value=False, is_eager=True, callback=_show_version, help="Show it."
    ),
]


def _shared_options() -> list[Any]:
    """Options that stand before a command's name as well as after it."""

    def options(config: Config = None, debug: Debug = False) -> None: ...

    holder = typer.Typer(add_completion=False)
    holder.command()(options)
    return typer.main.get_command(holder).params


app = typer.Typer(
    name="clickahead",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # it prints local variables, secrets among them
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def clickahead(config: Config = None, debug: Debug = False, version: Version = False) -> None:
    """A prediction and an anomaly verdict for every click of a Kafka clickstream."""


for _name, _listed in COMMANDS.items():
    app.command(_name, cls=LazyCommand, help=_listed.help, rich_help_panel=_listed.panel)(
        lambda: None
    )


def main() -> None:
    """Run the command that ``sys.argv`` names and exit."""
    app(prog_name="clickahead")
