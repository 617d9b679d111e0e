"""Where settings come from: a TOML file and the environment, as one flat table with origins."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

PREFIX = "CLICKAHEAD_"
CONFIG_VARIABLE = "CLICKAHEAD_CONFIG"
# Where downloads are kept: known before any setting is, by the installation too.
CACHE_VARIABLE = "CLICKAHEAD_CACHE"

# A Kubernetes Service called clickahead... gives every pod beside it such variables.
_SERVICE_LINK = re.compile(
    r"CLICKAHEAD\w*_SERVICE_(HOST=.*|PORT(_[A-Z0-9_]+)?=\d+)"
    r"|CLICKAHEAD\w*_PORT(_\d+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://.*"
    r"|CLICKAHEAD\w*_PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=.*"
)


class SettingsError(ValueError):
    """Settings that cannot be used; one line for each that says what was given and what to do."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True)
class Given:
    """A value as somebody wrote it, and where: ``clickahead.toml:7``, a variable's name."""

    value: object
    origin: str


@dataclass(frozen=True)
class Keys:
    """Every known key as ``section.name``; a secret may also be given as the file that holds it."""

    names: frozenset[str]
    secrets: frozenset[str]

    def accepted(self) -> frozenset[str]:
        return self.names | {f"{name}_file" for name in self.secrets}


def from_file(path: Path, keys: Keys) -> dict[str, Given]:
    """The values of a TOML file by key. Raises SettingsError."""
    text = _read(path, "settings file")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    accepted = keys.accepted()
    given: dict[str, Given] = {}
    problems = []
    for section, content in document.items():
        for name, value in content.items() if isinstance(content, dict) else [(None, content)]:
            key = section if name is None else f"{section}.{name}"
            origin = _place(path, text, section, name)
            if key in accepted:
                given[key] = Given(value, origin)
            else:
                problems.append(f"{origin}: {key} is no setting; {_nearest(key, accepted)}")
    _raise_all(problems)
    return _with_secrets(given, keys)


def from_environment(environ: Mapping[str, str], keys: Keys) -> dict[str, Given]:
    """The values of all ``CLICKAHEAD_SECTION__NAME`` variables by key. Raises SettingsError."""
    variables = {variable_of(key): key for key in keys.accepted()}
    given: dict[str, Given] = {}
    problems = []
    for variable, value in environ.items():
        if variable in variables:
            given[variables[variable]] = Given(value, variable)
        elif (
            variable.startswith(PREFIX)
            and variable not in (CONFIG_VARIABLE, CACHE_VARIABLE)
            and not _is_service_link(variable, value)
        ):
            problems.append(f"{variable} is no setting; {_nearest(variable, variables)}")
    _raise_all(problems)
    return _with_secrets(given, keys)


def from_arguments(overrides: Mapping[str, object], keys: Keys) -> dict[str, Given]:
    """Values that a command's own options give, by key. Raises SettingsError."""
    _raise_all(
        f"{key} is no setting; {_nearest(key, keys.names)}" for key in overrides.keys() - keys.names
    )
    return {key: Given(value, "command line") for key, value in overrides.items()}


def variable_of(key: str) -> str:
    """The environment variable of a key: ``kafka.ssl_cafile`` is CLICKAHEAD_KAFKA__SSL_CAFILE."""
    return PREFIX + key.upper().replace(".", "__")


def _with_secrets(given: Mapping[str, Given], keys: Keys) -> dict[str, Given]:
    """``given`` with every ``..._file`` of a secret replaced by what the file holds."""
    values = dict(given)
    for key in keys.secrets & {key.removesuffix("_file") for key in given}:
        named = values.pop(f"{key}_file", None)
        if named is None:
            continue
        if key in values:
            raise SettingsError(
                f"{values[key].origin} and {named.origin} both give {key}; keep one of them"
            )
        path = Path(str(named.value))
        # Editors and `echo` end a file with a newline that is no part of the secret.
        secret = _read(path, named.origin).rstrip("\r\n")
        values[key] = Given(secret, f"{named.origin} ({path})")
    return values


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{what}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{what}: {path} is not UTF-8 text") from None


def _nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the known key most like ``name``."""
    full = {candidate.casefold(): candidate for candidate in sorted(known)}
    # `bootstrap_servers` without its section, or in the wrong one, is near by its last part.
    last = {re.split(r"\.|__", candidate)[-1]: original for candidate, original in full.items()}
    found = difflib.get_close_matches(name.casefold(), full, n=1, cutoff=0.7)
    if found:
        return f"did you mean {full[found[0]]}?"
    bare = re.split(r"\.|__", name.casefold().removeprefix(PREFIX.casefold()))[-1]
    found = difflib.get_close_matches(bare, last, n=1, cutoff=0.7)
    if found:
        return f"did you mean {last[found[0]]}?"
    return "`clickahead config` lists all settings"


def _is_service_link(variable: str, value: str) -> bool:
    return "__" not in variable and _SERVICE_LINK.fullmatch(f"{variable}={value}") is not None


def _place(path: Path, text: str, section: str, name: str | None) -> str:
    """``file:line`` of a key, or ``file`` where the line cannot be told for certain."""
    wanted = section if name is None else name
    here = "" if name is None else section
    table, lines = "", []
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
        key = re.match(r"\s*\"?([\w-]+)\"?\s*=", line)
        if header:
            table = header[1]
            if table == f"{here}.{wanted}".lstrip("."):
                lines.append(number)
        elif key and (table, key[1]) == (here, wanted):
            lines.append(number)
    return f"{path}:{lines[0]}" if len(lines) == 1 else str(path)


def _raise_all(problems: Iterable[str]) -> None:
    lines = sorted(problems)
    if lines:
        raise SettingsError("\n".join(lines))
