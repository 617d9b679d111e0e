"""``clickahead evaluate``: a model's metrics on click files that it has not seen."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_app.invocation import settings_of
from stream_app.reading import FileChoice, MappingOption, PresetOption, read_shown


class Protocol(StrEnum):
    auto = "auto"
    session = "session"
    leave_one_out = "leave-one-out"


def command(
    context: typer.Context,
    model: Annotated[Path, typer.Option(help="A trained model's folder.")],
    test: Annotated[list[Path], typer.Option(help="Click files; repeat for several.")],
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="Every next item of every session, or each user's last item only; `auto`: the"
            " latter for user histories without repeats."
        ),
    ] = Protocol.auto,
    filter_seen: Annotated[
        bool | None,
        typer.Option(
            "--filter-seen/--keep-seen",
            help="Take the user's earlier items out of rankings; without either, under"
            " leave-one-out alone.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the metrics there too.")
    ] = None,
    preset: PresetOption = None,
    mapping: MappingOption = None,
) -> None:
    """Rank the whole catalogue for each next item and compare with popularity and Markov."""
    # torch costs seconds: only who evaluates pays for it.
    from model.checkpoint import load
    from model.evaluate import evaluate, table, unseen_by
    from model.presets import is_of_histories, traits_of
    from stream_app.sequences import build_log

    core = settings_of(context).core_config()
    console = Console(stderr=True)
    saved = load(model)
    choice = FileChoice(test, preset, mapping or (), sort=True)
    log = build_log(read_shown(choice, console, "reading"), saved.spec, tuple(saved.items), core)
    if protocol is Protocol.auto:
        histories = is_of_histories(traits_of(log, saved.spec), saved.spec)
        protocol = Protocol.leave_one_out if histories else Protocol.session
    if filter_seen is None:
        filter_seen = protocol is Protocol.leave_one_out
    unseen = unseen_by(model, log, protocol.value)
    if unseen.notice:
        console.print(unseen.notice, highlight=False)
    metrics = evaluate(unseen.model, log, protocol.value, filter_seen=filter_seen, console=console)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(metrics, indent=2) + "\n")
    Console().print(table(metrics))
