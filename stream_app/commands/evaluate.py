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


class Against(StrEnum):
    all = "all"
    actions = "actions"


def command(
    context: typer.Context,
    model: Annotated[Path, typer.Option(help="A trained model's folder.")],
    test: Annotated[
        list[Path], typer.Option(help="Click files, repeat for several; or a prepared folder.")
    ],
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
    against: Annotated[
        Against | None,
        typer.Option(
            help="`all`: fit neighbours, rules, item vectors, factors and a learned blend to the"
            " training files, and compare them on the test files. `actions`: only what foretells"
            " the next action, which is quick."
        ),
    ] = None,
    training: Annotated[
        list[Path] | None,
        typer.Option("--train", help="The files the model was trained on, for --against."),
    ] = None,
    others_with: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="MODEL",
            help="A model to join with it, a snapshot for example; repeat. Their logits are"
            " averaged, and their ranks fused.",
        ),
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The items as JSON Lines: also rank those that training has never seen, beside the"
            " popularity of their category.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the metrics there too.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a report with pictures there: one HTML file."),
    ] = None,
    preset: PresetOption = None,
    mapping: MappingOption = None,
) -> None:
    """Rank the whole catalogue for each next item and compare with popularity and Markov.

    With --against all also with session neighbours, rules, item vectors, factors and a learned
    blend, fitted to the training files; what is learned for it is kept in the model's folder.

    Of a prepared folder the test part is asked for, with all that came before as its past.

    Example: clickahead evaluate --model model --test prepared/ --report report.html

    Example: clickahead evaluate --model model --test new.csv --against all --train old.csv
    """
    # torch costs seconds: only who evaluates pays for it.
    from model.checkpoint import load, write_atomically
    from model.evaluate import unseen_by
    from model.lineage import learned_from
    from model.log import EventLog
    from model.questions import Protocol as RankingProtocol
    from stream_app.catalogue import described
    from stream_app.evaluating import learned_log, measure, read_asked, tables
    from stream_app.prepared import prepared_folder
    from stream_app.sequences import build_log

    core = settings_of(context).core_config()
    console = Console(stderr=True)
    saved = load(model)
    content = None if catalogue is None else described(catalogue, saved.items)

    def read(choice: FileChoice, what: str) -> EventLog:
        return build_log(read_shown(choice, console, what), saved.spec, tuple(saved.items), core)

    folder, choice = prepared_folder(test), FileChoice(test, preset, mapping or (), sort=True)
    named: dict[Protocol, RankingProtocol] = {
        Protocol.session: "session",
        Protocol.leave_one_out: "leave-one-out",
    }
    asked = read_asked(choice, folder, saved.spec, named.get(protocol), filter_seen, read)
    unseen, *others = (
        unseen_by(found, asked.log, asked.protocol) for found in (model, *(others_with or ()))
    )
    notices = list(dict.fromkeys(one.notice for one in (unseen, *others) if one.notice))
    for notice in notices:
        console.print(notice, highlight=False)
    learned = None
    if against is not None:
        learners = None if training is None else choice._replace(files=training)
        learned = learned_log(asked, folder, learners, unseen, read)
    metrics = measure(
        unseen.model,
        asked,
        console,
        others=[other.model for other in others],
        content=content,
        learned=learned,
        only_actions=against is Against.actions,
    )
    if json_file is not None:
        write_atomically(json_file, json.dumps(metrics, indent=2).encode() + b"\n")
    if report is not None:
        from model.report import write_report

        write_report(report, unseen.model, metrics, notices)
        console.print(f"report in {report}", highlight=False)
    ranked, *rest = tables(metrics)
    Console().print(ranked)
    console.print(learned_from(load(unseen.model).manifest), highlight=False)
    for shown in rest:
        Console().print(shown)
