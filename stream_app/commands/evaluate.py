"""``clickahead evaluate``: a model's metrics on click files that it has not seen."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import convert
from rich.console import Console

from stream_app.invocation import UserError, settings_of
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
    from model.checkpoint import load
    from model.evaluate import evaluate, heads_table, table, unseen_by
    from model.lineage import learned_from
    from model.presets import is_of_histories, traits_of
    from model.questions import Protocol as RankingProtocol
    from stream_app.prepare.config import SPLITS, TRAIN, VALIDATION
    from stream_app.prepared import prepared_folder
    from stream_app.sequences import build_log

    core = settings_of(context).core_config()
    console = Console(stderr=True)
    saved = load(model)
    folder, among = prepared_folder(test), None
    choice = FileChoice(test, preset, mapping or (), sort=True)
    if folder is not None:
        choice = folder.choice(*SPLITS)
        protocol = protocol if protocol is not Protocol.auto else Protocol(folder.protocol)
    log = build_log(read_shown(choice, console, "reading"), saved.spec, tuple(saved.items), core)
    if folder is not None:
        among = folder.test_events(log, saved.spec)
    if protocol is Protocol.auto:
        histories = is_of_histories(traits_of(log, saved.spec), saved.spec)
        protocol = Protocol.leave_one_out if histories else Protocol.session
    if filter_seen is None:
        filter_seen = protocol is Protocol.leave_one_out
    asked: RankingProtocol = "leave-one-out" if protocol is Protocol.leave_one_out else "session"
    unseen = unseen_by(model, log, asked)
    if unseen.notice:
        console.print(unseen.notice, highlight=False)
    if against is not None:
        from model.action_contest import action_table
        from model.against import compare_actions, compare_all
        from model.lead import HeldOut, against_table, held_out_table

        train_log = log
        if folder is not None:
            read = read_shown(folder.choice(TRAIN, VALIDATION), console, "reading what was learned")
            train_log = folder.without_cut_sessions(
                build_log(read, saved.spec, tuple(saved.items), core)
            )
        elif training is not None:
            chosen = choice._replace(files=training)
            shown = read_shown(chosen, console, "reading the training files")
            train_log = build_log(shown, saved.spec, tuple(saved.items), core)
        elif not unseen.knows_rest:
            raise UserError("--against needs the model's training files too: --train FILE")
        others: dict[str, Any]
        if against is Against.actions:
            others = {
                "actions": compare_actions(unseen.model, train_log, log, asked, among, console)
            }
        else:
            others = compare_all(
                unseen.model,
                train_log,
                log,
                asked,
                filter_seen=filter_seen,
                among=among,
                console=console,
            )
    metrics = evaluate(
        unseen.model, log, asked, filter_seen=filter_seen, among=among, console=console
    )
    if against is not None:
        metrics["against"] = others
    if others_with:
        from model.together import table as joint_table
        from model.together import together

        metrics["together"] = together(
            [unseen.model, *others_with], log, asked, filter_seen=filter_seen, among=among
        )
    if catalogue is not None:
        from model.cold_items import cold_metrics
        from model.cold_items import table as cold_table
        from stream_app.catalogue import described

        content = described(catalogue, saved.items)
        metrics["new_items"] = cold_metrics(unseen.model, log, content, asked)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(metrics, indent=2) + "\n")
    if report is not None:
        from model.report import write_report

        write_report(report, unseen.model, metrics, [unseen.notice] if unseen.notice else [])
        console.print(f"report in {report}", highlight=False)
    Console().print(table(metrics))
    console.print(learned_from(load(unseen.model).manifest), highlight=False)
    heads = heads_table(metrics)
    if heads.row_count:
        Console().print(heads)
    if "foretold" in metrics:
        from model.foretelling import table as foretold_table

        Console().print(foretold_table(metrics["foretold"]))
    if others_with:
        Console().print(joint_table(metrics["together"]))
    if catalogue is not None and metrics["new_items"]["n"]:
        Console().print(cold_table(metrics["new_items"]))
    if against is not None:
        if against is Against.all:
            Console().print(against_table(others))
        if others.get("held_out") is not None:
            Console().print(held_out_table(convert(others["held_out"], HeldOut)))
        if others["actions"] and metrics["action"]["n"]:
            Console().print(action_table(others["actions"], saved.spec.actions))
