"""What a command gets from the command line, and how it tells the user that it cannot go on."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import typer

if TYPE_CHECKING:
    from stream_app.settings import Settings


class ExitCode(IntEnum):
    """How a command ended; ``clickahead --help`` lists them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    KAFKA_UNREACHABLE = 3
    BEYOND_HORIZON = 4
    INTERRUPTED = 130


class UserError(Exception):
    """A mistake the user can mend, in one sentence: what was given, what is allowed, what to do.

    The command line prints the message without a traceback and exits with ``exit_code``. It does
    the same for any other exception that has an ``exit_code``, so a library raises its own.
    """

    exit_code: ClassVar[int] = ExitCode.USAGE


@dataclass
class Invocation:
    """One call of ``clickahead``: its surroundings, and the options that every command shares."""

    environ: Mapping[str, str]
    folder: Path
    config_file: Path | None = None
    debug: bool = False


def settings_of(
    context: typer.Context, overrides: Mapping[str, object] | None = None
) -> "Settings":
    """The settings in force for a command; ``overrides`` come from its own options and win.

    Raises SettingsError.
    """
    # Settings cost more to import than the rest of the command line together.
    from stream_app.settings import find_config_file, load

    invocation = context.find_object(Invocation)
    if invocation is None:
        raise TypeError("a command has to be run through stream_app.cli.app")
    config_file = find_config_file(invocation.config_file, invocation.environ, invocation.folder)
    return load(config_file, invocation.environ, overrides or {})
